#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <galapagos/io/safetensors.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

/// "F32", "BF16", "F16": how checkpoints spell a type, and which it is; none for what is no type of weights.
const char* checkpoint_name(DType type);
std::optional<DType> type_named(std::string_view dtype);

/// The weights of a Hugging Face model folder, mapped into memory: model.safetensors, or
/// model.safetensors.index.json with its shards, or, without either, every *.safetensors of the folder. Of
/// the index only the files count: where a tensor lies they say themselves. Fused tensors of families that
/// have such are split into those that they are made of, by the sizes in the folder's config.json, as are
/// those of all experts of a layer; Mixtral's experts have the names of others'. Of a model of text and
/// images only the text model's tensors count, by its own names. InputError where files are missing or
/// damaged, tensors present twice, and, once they are asked for, missing.
class Checkpoint {
 public:
  using Shape = std::vector<std::int64_t>;

  explicit Checkpoint(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  bool has(std::string_view name) const { return tensors_.contains(name); }
  /// InputError where there is no such tensor.
  const TensorEntry& entry(std::string_view name) const;
  /// The same; InputError, too, where its shape is another.
  const TensorEntry& entry_of_shape(std::string_view name, const Shape& expected) const;
  /// Sorted.
  std::vector<std::string> names() const;
  /// How many the files hold, fused ones counted once.
  std::size_t stored() const;
  /// Bytes of all tensors together.
  std::uint64_t total_bytes() const;

  /// The type most bytes of the 2-D weights are stored in; InputError where none is F32, F16 or BF16.
  DType dtype() const;
  /// The type of one tensor; InputError where it is not F32, F16 or BF16.
  DType dtype_of(std::string_view name) const;

  /// A whole tensor in fp32. InputError where its shape is not `expected` or its type is not a float type.
  std::vector<float> read_float(std::string_view name, const Shape& expected) const;
  /// Rows [first, last) of a 2-D tensor into `out`, of (last - first) * columns * size_of(type) bytes: copied
  /// where the tensor is stored as `type`, else rounded to it. InputError as read_float, and where a value is
  /// too large for `type`.
  void read_rows(std::string_view name, const Shape& expected, std::int64_t first, std::int64_t last,
                 DType type, std::span<std::byte> out) const;
  /// The same rows where they lie in the file, which is mapped, if the tensor is stored as `type`.
  std::optional<std::span<const std::byte>> rows_in_file(std::string_view name, const Shape& expected,
                                                         std::int64_t first, std::int64_t last,
                                                         DType type) const;
  /// Columns [first, last) of a 2-D tensor into `out`, row by row; otherwise as read_rows.
  void read_columns(std::string_view name, const Shape& expected, std::int64_t first, std::int64_t last,
                    DType type, std::span<std::byte> out) const;

  /// Tells checkpoints apart whatever their sharding: a hash over every tensor's name, type and shape and a
  /// sample of its bytes (up to 16 evenly spaced pages of 4 KiB). A change elsewhere goes unnoticed.
  std::uint64_t fingerprint() const;

 private:
  void add_file(const std::filesystem::path& path);
  void add_indexed_files(const std::filesystem::path& index);
  void take_text();
  std::string stored_name(std::string_view name) const;
  void split_fused();
  void split_experts();
  void check_experts() const;
  std::span<const std::byte> rows_of(const TensorEntry& found, std::size_t size, std::int64_t first,
                                     std::int64_t last) const;

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string_view, const TensorEntry*> tensors_;
  std::list<TensorEntry> parts_;                 // of fused tensors, and what is renamed
  bool mixtral_names_ = false;                   // in the files
  std::map<std::string, std::string> promised_;  // tensors that the index places in files that lack them
};

}  // namespace galapagos
