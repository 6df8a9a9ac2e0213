#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/io/torch_file.hpp>
#include <galapagos/pruning/module_id.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos::darwinlm {

std::filesystem::path level_path(const std::filesystem::path& folder, const ModuleId& module,
                                 std::int64_t level);

/// How many levels a module has there. InputError where it has none, or one between them is missing.
std::int64_t count_levels(const std::filesystem::path& folder, const ModuleId& module);

/// Columns removed at levels 0, 1, ... of each kind of module.
using RemovedColumns = std::map<ModuleKind, std::vector<std::int64_t>>;

/// What metadata.pth says, ascending; nothing where there is none. InputError where it says something else.
std::optional<RemovedColumns> read_metadata(const std::filesystem::path& folder);
void write_metadata(const std::filesystem::path& folder, const RemovedColumns& removed);

/// A weight of a level, as its file has it.
class DenseLevel {
 public:
  /// InputError where it has another shape or a type that no weight has.
  DenseLevel(const std::filesystem::path& path, std::int64_t hidden, std::int64_t columns);

  DType dtype() const { return dtype_; }
  /// [hidden, columns], row by row.
  std::span<const std::byte> words() const { return words_; }
  /// Which runs of `unit` columns are zero throughout. InputError where a value is not finite.
  std::vector<bool> zero_structures(std::int64_t unit) const;

 private:
  TorchFile file_;
  DType dtype_;
  std::int64_t columns_;
  std::vector<std::byte> storage_;
  std::span<const std::byte> words_;
};

void write_level(const std::filesystem::path& path, DType dtype, std::int64_t hidden, std::int64_t columns,
                 std::span<const std::byte> words);

}  // namespace galapagos::darwinlm
