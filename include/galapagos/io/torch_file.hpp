#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <galapagos/core/file.hpp>

namespace galapagos {

/// A tensor in a file of torch.save: its type as safetensors spells it ("F32", "BF16", ...), its shape (empty
/// for a scalar), its strides in elements, none of them negative, and the little-endian bytes of its storage
/// from its first element on, at any alignment.
struct TorchTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  std::span<const std::byte> data;

  std::int64_t elements() const;
  std::size_t bytes() const;
  /// Its bytes in row-major order: where they lie, or else gathered into `storage`.
  std::span<const std::byte> contiguous(std::vector<std::byte>& storage) const;
};

/// What torch.save can have saved, of the plain things: None, numbers, texts, tensors, and lists and
/// dictionaries of these; a tuple is a list, and keys are texts.
struct TorchValue {
  using List = std::vector<TorchValue>;
  struct Item;
  using Dict = std::vector<Item>;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, TorchTensor, List, Dict> value;

  /// What a dictionary has under a key; null where there is none, or it is no dictionary.
  const TorchValue* find(std::string_view key) const;
};

/// What a dictionary has under a key.
struct TorchValue::Item {
  std::string key;
  TorchValue value;
};

/// A file of torch.save (1.6 and later), mapped into memory: a zip archive of stored entries, in it a pickle
/// of protocol 2. Of a pickle only what builds the above is done, nothing of it is run: everything else is
/// refused by its name. Tensors' data live as long as this object or the one it was moved to. InputError
/// where anything is wrong.
class TorchFile {
 public:
  explicit TorchFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const TorchValue& value() const { return value_; }
  /// InputError where it holds something else than one tensor.
  const TorchTensor& tensor() const;

 private:
  std::filesystem::path path_;
  MappedFile file_;
  TorchValue value_;
};

/// Writes a file that torch.load reads, also with weights_only=True, through `path.part`. FailureError for a
/// tensor that is not contiguous or of another number of bytes than its type and shape say, ResourceError
/// where the disk is full.
void write_torch_file(const std::filesystem::path& path, const TorchValue& value);

/// The strides of a contiguous tensor.
std::vector<std::int64_t> row_major_strides(std::span<const std::int64_t> shape);

}  // namespace galapagos
