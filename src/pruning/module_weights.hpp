#pragma once

#include <exception>
#include <optional>
#include <thread>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/tensor/staging_buffer.hpp>

namespace galapagos {

/// The checkpoint's weights of modules as OBS wants them. They travel to the device as they are stored, and
/// are transposed and widened there.
class ModuleWeights {
 public:
  ModuleWeights(const ops::Context& context, const Checkpoint& checkpoint, const HfConfig& config)
      : context_(context), checkpoint_(checkpoint), config_(config) {}
  ~ModuleWeights();
  ModuleWeights(const ModuleWeights&) = delete;
  ModuleWeights& operator=(const ModuleWeights&) = delete;

  /// [columns, hidden] fp32 on the context's device. InputError as Checkpoint::read_rows().
  OwnedTensor transposed(const ModuleId& module);
  /// Begins to read the weight that transposed() is asked for next, on a thread that knows nothing of a GPU,
  /// while a GPU works on another. Throws nothing: what goes wrong, transposed() tells. Nothing on a CPU,
  /// which has something better to do.
  void read_ahead(const ModuleId& module);

 private:
  struct Stored {
    std::string name;
    Checkpoint::Shape shape;
    DType type;
    std::size_t bytes() const { return static_cast<std::size_t>(shape[0] * shape[1]) * size_of(type); }
  };
  Stored find(const ModuleId& module) const;
  void read(const Stored& stored, std::span<std::byte> bytes) const;
  void stop();

  const ops::Context& context_;
  const Checkpoint& checkpoint_;
  const HfConfig& config_;
  StagingBuffer staging_;
  std::optional<ModuleId> ahead_;  // what thread_ reads, or has read, into staging_
  std::thread thread_;
  std::exception_ptr failure_;  // of thread_; to be looked at once it is joined
};

}  // namespace galapagos
