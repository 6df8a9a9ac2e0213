#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// A layer's parameters as they are in a file.
struct StoredLayer {
  std::vector<std::string> names;
  std::vector<std::vector<std::byte>> bytes;  ///< of each; none at all where the layer stays as it was
};

/// Whether anything is left of a layer: then it has a file when it is done.
bool has_parameters(const HfConfig& config, std::int64_t layer);

/// The files of the layers that a distillation has done, OUTPUT/layers/<layer>/model.safetensors, each with
/// the identity of the run and a checksum. On the root, but for folder().
class LayerFiles {
 public:
  /// The references must outlive this.
  LayerFiles(const std::filesystem::path& output, const HfConfig& config, const Checkpoint& parent,
             const std::string& identity)
      : layers_(output / "layers"), config_(config), parent_(parent), identity_(identity) {}

  /// Of a layer that is done: a checkpoint of its tensors alone.
  std::filesystem::path folder(std::int64_t layer) const;
  void write(std::int64_t layer, const StoredLayer& stored) const;
  /// How many layers are done, one after the other. InputError where a file is damaged or of another run.
  std::int64_t done() const;

 private:
  void check(std::int64_t layer) const;

  std::filesystem::path layers_;
  const HfConfig& config_;
  const Checkpoint& parent_;
  const std::string& identity_;
};

}  // namespace galapagos
