#include "little_endian.hpp"
#include "storage_types.hpp"
#include "zip_writer.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include <galapagos/core/error.hpp>
#include <galapagos/io/torch_file.hpp>

namespace galapagos {
namespace {

using torch_format::append;

/// The pickle of a value, and the data of its tensors in the order of their keys 0, 1, ...
class Pickler {
 public:
  explicit Pickler(const TorchValue& value) {
    text_ = "\x80\x02";
    add(value);
    text_ += '.';
  }
  const std::string& text() const { return text_; }
  std::span<const std::span<const std::byte>> data() const { return data_; }

 private:
  void add(const TorchValue& value) {
    std::visit([&](const auto& one) { add(one); }, value.value);
  }
  void add(std::monostate) { text_ += 'N'; }
  void add(bool value) { text_ += value ? '\x88' : '\x89'; }
  void add(std::int64_t value) {
    const auto narrow = static_cast<std::int32_t>(value);
    if (narrow == value) {
      text_ += 'J';
      return append(text_, narrow);
    }
    text_ += "\x8a\x08";
    append(text_, value);
  }
  void add(double value) {
    text_ += 'G';
    append(text_, __builtin_bswap64(std::bit_cast<std::uint64_t>(value)));
  }
  void add(const std::string& value) {
    text_ += 'X';
    append(text_, static_cast<std::uint32_t>(value.size()));
    text_ += value;
  }
  void add(const TorchValue::List& list) {
    text_ += "](";
    for (const TorchValue& item : list) add(item);
    text_ += 'e';
  }
  void add(const TorchValue::Dict& dict) {
    text_ += "}(";
    for (const auto& [key, item] : dict) {
      add(key);
      add(item);
    }
    text_ += 'u';
  }
  void add_global(std::string_view name) {
    const std::size_t dot = name.rfind('.');
    text_ += 'c';
    text_.append(name.substr(0, dot)).append("\n").append(name.substr(dot + 1)).append("\n");
  }
  void add_tuple(std::span<const std::int64_t> numbers) {
    text_ += '(';
    for (const std::int64_t number : numbers) add(number);
    text_ += 't';
  }
  void add(const TorchTensor& tensor) {
    const auto type =
        std::ranges::find(torch_format::storage_types, tensor.dtype, &torch_format::StorageType::dtype);
    if (type == torch_format::storage_types.end() || tensor.data.size() != tensor.bytes() ||
        tensor.strides != row_major_strides(tensor.shape))
      throw FailureError("not a contiguous tensor of a known type", "torch.save", "report this as a defect");
    add_global(torch_format::rebuild_tensor);
    text_ += "((";
    add(std::string("storage"));
    add_global(type->name);
    add(std::to_string(data_.size()));
    add(std::string("cpu"));
    add(tensor.elements());
    text_ += "tQ";
    add(std::int64_t{0});
    add_tuple(tensor.shape);
    add_tuple(tensor.strides);
    add(false);  // requires no gradient
    add_global(torch_format::ordered_dict);
    text_ += ")RtR";
    data_.push_back(tensor.data);
  }

  std::string text_;
  std::vector<std::span<const std::byte>> data_;
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

void write_torch_file(const std::filesystem::path& path, const TorchValue& value) {
  const Pickler pickle(value);
  const std::string folder = "archive/";
  std::vector<torch_format::NewEntry> entries = {{folder + "data.pkl", bytes_of(pickle.text())},
                                                 {folder + "byteorder", bytes_of("little")}};
  for (std::size_t i = 0; i < pickle.data().size(); ++i)
    entries.push_back({folder + "data/" + std::to_string(i), pickle.data()[i]});
  entries.push_back({folder + "version", bytes_of("3\n")});
  torch_format::write_zip(path, entries);
}

}  // namespace galapagos
