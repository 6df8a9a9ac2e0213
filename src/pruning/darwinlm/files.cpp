#include "files.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::darwinlm {
namespace {

namespace fs = std::filesystem;

constexpr const char* metadata_name = "metadata.pth";
constexpr std::array<std::pair<ModuleKind, const char*>, 2> metadata_keys = {
    {{ModuleKind::attention, "cols_removed_attn"}, {ModuleKind::ffn, "cols_removed_mlp"}}};

struct TypeName {
  DType type;
  const char* name;
};
constexpr std::array<TypeName, 3> type_names = {
    {{DType::f32, "F32"}, {DType::bf16, "BF16"}, {DType::f16, "F16"}}};

DType type_of(const TorchTensor& tensor, const std::string& where) {
  const auto found = std::ranges::find(type_names, tensor.dtype, &TypeName::name);
  if (found == type_names.end()) {
    throw InputError("a weight of type " + printable(tensor.dtype), where,
                     "give weights of float32, float16 or bfloat16");
  }
  return found->type;
}

/// A type's word without its sign, and that of infinity: of what is zero it is 0, of what is not finite no
/// less than infinity's.
template <typename Word>
struct Magnitude {
  Word mask, infinity;
};

template <typename Word>
std::vector<Word> largest_of_columns(std::span<const std::byte> words, std::int64_t columns,
                                     const Magnitude<Word>& magnitude) {
  std::vector<Word> row(static_cast<std::size_t>(columns)), largest(row.size(), 0);
  const std::size_t bytes = row.size() * sizeof(Word);
  for (std::size_t at = 0; at < words.size(); at += bytes) {
    std::memcpy(row.data(), words.data() + at, bytes);  // which may lie at any address
    for (std::size_t i = 0; i < row.size(); ++i)
      largest[i] = std::max(largest[i], static_cast<Word>(row[i] & magnitude.mask));
  }
  return largest;
}

template <typename Word>
std::vector<bool> zeros_of(std::span<const std::byte> words, std::int64_t columns, std::int64_t unit,
                           const Magnitude<Word>& magnitude, const std::string& where) {
  const std::vector<Word> largest = largest_of_columns(words, columns, magnitude);
  std::vector<bool> zero(static_cast<std::size_t>(columns / unit), true);
  for (std::size_t i = 0; i < largest.size(); ++i) {
    if (largest[i] >= magnitude.infinity)
      throw InputError(fmt::format("column {} holds a value that is not finite", i), where,
                       "make this database anew");
    if (largest[i] != 0) zero[i / static_cast<std::size_t>(unit)] = false;
  }
  return zero;
}

std::vector<std::int64_t> removed_columns(const TorchValue& metadata, const char* key,
                                          const std::string& where) {
  const TorchValue* found = metadata.find(key);
  const auto* list = found == nullptr ? nullptr : std::get_if<TorchValue::List>(&found->value);
  const std::string remedy = "give a database of DarwinLM's struct_prune.py";
  if (list == nullptr) throw InputError(fmt::format("no list '{}'", key), where, remedy);
  std::vector<std::int64_t> columns;
  for (const TorchValue& one : *list) {
    const auto* number = std::get_if<std::int64_t>(&one.value);
    if (number == nullptr || *number < 0)
      throw InputError(fmt::format("'{}' holds something else than numbers of columns", key), where, remedy);
    columns.push_back(*number);
  }
  std::ranges::sort(columns);  // as DarwinLM does before it prunes
  if (columns.size() < 2 || columns.front() != 0 || std::ranges::adjacent_find(columns) != columns.end())
    throw InputError(fmt::format("'{}' should hold 0 and larger numbers, none of them twice", key), where,
                     remedy);
  return columns;
}

}  // namespace

fs::path level_path(const fs::path& folder, const ModuleId& module, std::int64_t level) {
  return folder / name_of(module) / fmt::format("{}.pth", level);
}

std::int64_t count_levels(const fs::path& folder, const ModuleId& module) {
  const fs::path of_module = folder / name_of(module);
  if (!fs::is_directory(of_module)) {
    throw InputError("there is no such folder", of_module.string(),
                     "give the folder that DarwinLM's struct_prune.py has written for this model");
  }
  std::int64_t files = 0, levels = 0;
  for (const auto& entry : fs::directory_iterator(of_module))
    files += entry.path().extension() == ".pth" ? 1 : 0;
  while (fs::exists(level_path(folder, module, levels))) ++levels;
  if (levels < 2 || levels != files) {
    throw InputError(fmt::format("{} levels from 0.pth on, and {} files .pth", levels, files),
                     of_module.string(),
                     "give a whole database; one of gradual pruning begins at other levels and is not read");
  }
  return levels;
}

std::optional<RemovedColumns> read_metadata(const fs::path& folder) {
  const fs::path path = folder / metadata_name;
  if (!fs::exists(path)) return std::nullopt;
  const TorchFile file(path);
  RemovedColumns removed;
  for (const auto& [kind, key] : metadata_keys)
    removed[kind] = removed_columns(file.value(), key, path.string());
  return removed;
}

void write_metadata(const fs::path& folder, const RemovedColumns& removed) {
  TorchValue::Dict dict;
  for (const auto& [kind, key] : metadata_keys) {
    TorchValue::List list;
    for (const std::int64_t columns : removed.at(kind)) list.push_back({columns});
    dict.push_back({key, {std::move(list)}});
  }
  write_torch_file(folder / metadata_name, {std::move(dict)});
}

DenseLevel::DenseLevel(const fs::path& path, std::int64_t hidden, std::int64_t columns)
    : file_(path), dtype_(type_of(file_.tensor(), path.string())), columns_(columns) {
  const TorchTensor& tensor = file_.tensor();
  if (tensor.shape != std::vector<std::int64_t>{hidden, columns}) {
    throw InputError(fmt::format("a weight of [{}], not of [{}, {}] as the model's",
                                 fmt::join(tensor.shape, ", "), hidden, columns),
                     path.string(), "give the model that the database was made from");
  }
  words_ = tensor.contiguous(storage_);
}

std::vector<bool> DenseLevel::zero_structures(std::int64_t unit) const {
  const std::string where = file_.path().string();
  if (dtype_ == DType::f32)
    return zeros_of<std::uint32_t>(words_, columns_, unit, {0x7fffffff, 0x7f800000}, where);
  const std::uint16_t infinity = dtype_ == DType::f16 ? 0x7c00 : 0x7f80;
  return zeros_of<std::uint16_t>(words_, columns_, unit, {0x7fff, infinity}, where);
}

void write_level(const fs::path& path, DType dtype, std::int64_t hidden, std::int64_t columns,
                 std::span<const std::byte> words) {
  TorchTensor tensor;
  tensor.dtype = std::ranges::find(type_names, dtype, &TypeName::type)->name;
  tensor.shape = {hidden, columns};
  tensor.strides = row_major_strides(tensor.shape);
  tensor.data = words;
  write_torch_file(path, {std::move(tensor)});
}

}  // namespace galapagos::darwinlm
