#include "pickle.hpp"
#include "zip_archive.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/io/torch_file.hpp>

namespace galapagos {
namespace {

using torch_format::Node;
using torch_format::ZipArchive;

constexpr std::uint64_t most_pickled = std::uint64_t{1} << 20;
constexpr int most_deep = 32;

bool begins_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

/// Says of other files what they are.
void check_kind(std::span<const std::byte> bytes, const std::string& where) {
  if (begins_with(bytes, "PK\3\4")) return;
  constexpr std::string_view legacy{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14};
  if (begins_with(bytes, legacy)) {
    throw InputError("a file of torch.save before 1.6, which is no zip archive", where,
                     "load it and save it again with a newer torch");
  }
  throw InputError("not a file of torch.save", where, "give a .pth file");
}

/// The folder in the archive that everything lies in, with its slash.
std::string folder_of(const ZipArchive& archive, const std::string& where) {
  constexpr std::string_view pickle = "/data.pkl";
  for (const auto& [name, entry] : archive.entries()) {
    if (name.ends_with(pickle) && name.find('/') == name.size() - pickle.size())
      return name.substr(0, name.size() - pickle.size() + 1);
  }
  throw InputError("a zip archive without data.pkl: not a file of torch.save", where, "give a .pth file");
}

void check_byte_order(const ZipArchive& archive, const std::string& folder, const std::string& where) {
  const std::string name = folder + "byteorder";
  if (!archive.has(name)) return;  // before torch 2.1, always little
  const auto order = archive.read(name);
  if (begins_with(order, "little") && order.size() == 6) return;
  const std::string found(reinterpret_cast<const char*>(order.data()), order.size());
  throw InputError("its bytes are in the order '" + printable(found) + "'", where,
                   "save it on a little-endian machine");
}

/// Makes values of what a pickle has built, with a bound on how many: what it has once may stand in many
/// places, or in itself.
class Conversion {
 public:
  Conversion(const ZipArchive& archive, std::string folder, const std::string& where)
      : archive_(archive), folder_(std::move(folder)), where_(where) {}

  TorchValue value_of(const Node& node, int depth = 0) {
    if (depth > most_deep) wrong("things within one another too deep");
    pay(1);
    return std::visit([&](const auto& value) { return TorchValue{converted(value, depth)}; }, node.value);
  }

 private:
  using Value = decltype(TorchValue::value);

  [[noreturn]] void wrong(const std::string& what) const {
    throw InputError(what, where_, "save plain tensors, numbers, texts, lists and dictionaries");
  }
  void pay(std::size_t cost) {
    if (cost > left_) wrong("too many things");
    left_ -= cost;
  }

  static Value converted(const Node::None&, int) { return std::monostate(); }
  static Value converted(bool value, int) { return value; }
  static Value converted(std::int64_t value, int) { return value; }
  static Value converted(double value, int) { return value; }
  Value converted(const std::string& value, int) {
    pay(value.size());
    return value;
  }
  Value converted(const Node::Mark&, int) { wrong("a mark of the pickle"); }
  Value converted(const Node::Global& value, int) { wrong("it holds " + printable(value.name) + " itself"); }
  Value converted(const Node::Storage&, int) { wrong("it holds a storage itself"); }
  Value converted(const Node::Tuple& value, int depth) { return list_of(value.items, depth); }
  Value converted(const Node::List& value, int depth) { return list_of(value.items, depth); }
  Value converted(const Node::Dict& value, int depth) {
    TorchValue::Dict dict;
    for (const auto& [key, item] : value.items) {
      const auto* name = std::get_if<std::string>(&key->value);
      if (name == nullptr) wrong("a dictionary with keys that are no texts");
      pay(name->size());
      dict.push_back({*name, value_of(*item, depth + 1)});
    }
    return dict;
  }
  Value converted(const Node::Tensor& tensor, int) {
    const std::span<const std::byte> all = data_of(tensor.storage);
    return TorchTensor{std::string(tensor.storage.type->dtype), tensor.shape, tensor.strides,
                       all.subspan(static_cast<std::size_t>(tensor.offset * tensor.storage.type->size))};
  }
  TorchValue::List list_of(std::span<const Node* const> items, int depth) {
    TorchValue::List list;
    for (const Node* item : items) list.push_back(value_of(*item, depth + 1));
    return list;
  }
  std::span<const std::byte> data_of(const Node::Storage& storage) {
    const auto [found, is_new] = read_.try_emplace(storage.key);
    if (is_new) found->second = archive_.read(folder_ + "data/" + storage.key);
    const auto bytes = static_cast<std::uint64_t>(storage.elements * storage.type->size);
    if (found->second.size() != bytes) {
      wrong(fmt::format("storage {} has {} bytes where its type and length make {}", printable(storage.key),
                        found->second.size(), bytes));
    }
    return found->second;
  }

  const ZipArchive& archive_;
  std::string folder_;
  const std::string& where_;
  std::map<std::string, std::span<const std::byte>> read_;
  std::size_t left_ = std::size_t{1} << 20;
};

TorchValue read_value(std::span<const std::byte> bytes, const std::string& where) {
  check_kind(bytes, where);
  const ZipArchive archive(bytes, where);
  const std::string folder = folder_of(archive, where);
  check_byte_order(archive, folder, where);
  const auto pickle = archive.read(folder + "data.pkl");
  if (pickle.size() > most_pickled)
    throw InputError("a pickle of more than 1 MiB", where, "save plain tensors with torch.save");
  const torch_format::Pickled pickled = torch_format::read_pickle(pickle, where);
  return Conversion(archive, folder, where).value_of(*pickled.top);
}

}  // namespace

TorchFile::TorchFile(const std::filesystem::path& path)
    : path_(path), file_(path), value_(read_value(file_.bytes(), path.string())) {}

const TorchTensor& TorchFile::tensor() const {
  if (const auto* tensor = std::get_if<TorchTensor>(&value_.value)) return *tensor;
  throw InputError("it holds something else than one tensor", path_.string(), "save the tensor itself");
}

const TorchValue* TorchValue::find(std::string_view key) const {
  const auto* dict = std::get_if<Dict>(&value);
  if (dict == nullptr) return nullptr;
  const auto found = std::ranges::find(*dict, key, &Item::key);
  return found == dict->end() ? nullptr : &found->value;
}

}  // namespace galapagos
