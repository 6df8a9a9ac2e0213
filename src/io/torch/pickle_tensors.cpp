#include "pickle.hpp"

#include <algorithm>
#include <limits>

#include <galapagos/core/error.hpp>

namespace galapagos::torch_format {
namespace {

[[noreturn]] void wrong(const std::string& what, const std::string& where) {
  throw InputError(what, where, "save plain tensors with torch.save");
}

template <typename T>
const T& expect(const Node* node, const char* what, const std::string& where) {
  const T* found = std::get_if<T>(&node->value);
  if (found == nullptr) wrong(std::string("a tensor without ") + what, where);
  return *found;
}

// What may be pointed to again and again is not copied before it is known to be small.
constexpr std::size_t most_dimensions = 8, longest_key = 64;

std::vector<std::int64_t> extents(const Node* node, const char* what, const std::string& where) {
  const auto& items = expect<Node::Tuple>(node, what, where).items;
  if (items.size() > most_dimensions) wrong("a tensor of more than 8 dimensions", where);
  std::vector<std::int64_t> numbers;
  for (const Node* item : items) {
    numbers.push_back(expect<std::int64_t>(item, what, where));
    if (numbers.back() < 0) wrong(std::string("a tensor with a negative number among ") + what, where);
  }
  return numbers;
}

/// Whether all elements lie in the storage, and no more of them than it has.
bool fits(const Node::Tensor& tensor) {
  std::int64_t elements = 1, last = tensor.offset;
  const bool empty = std::ranges::find(tensor.shape, 0) != tensor.shape.end();
  if (empty) return true;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(elements, tensor.shape[d], &elements) ||
        __builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &reach) ||
        __builtin_add_overflow(last, reach, &last))
      return false;
  }
  return last < tensor.storage.elements && elements <= tensor.storage.elements;
}

}  // namespace

Node::Tensor tensor_of_arguments(const Node::Tuple& arguments, const std::string& where) {
  const auto& items = arguments.items;
  if (items.size() != 6) wrong("a tensor of other than six arguments", where);
  Node::Tensor tensor{expect<Node::Storage>(items[0], "a storage", where),
                      expect<std::int64_t>(items[1], "a place in its storage", where),
                      extents(items[2], "its shape", where), extents(items[3], "its strides", where)};
  if (tensor.shape.size() != tensor.strides.size())
    wrong("a tensor with other strides than dimensions", where);
  if (!expect<Node::Dict>(items[5], "a dictionary of hooks", where).items.empty())
    wrong("a tensor with hooks", where);
  if (tensor.offset < 0 || tensor.offset > tensor.storage.elements || !fits(tensor))
    wrong("a tensor that goes beyond its storage, or repeats parts of it", where);
  return tensor;
}

Node::Storage storage_of_id(const Node& id, const std::string& where) {
  const auto& items = expect<Node::Tuple>(&id, "a storage", where).items;
  if (items.size() != 5 || expect<std::string>(items[0], "a storage", where) != "storage")
    wrong("a persistent id that is no storage's", where);
  const std::string& name = expect<Node::Global>(items[1], "a type", where).name;
  const auto type = std::ranges::find(storage_types, name, &StorageType::name);
  if (type == storage_types.end()) wrong("a storage of type " + printable(name), where);
  const auto elements = expect<std::int64_t>(items[4], "a length", where);
  if (elements < 0 || elements > std::numeric_limits<std::int64_t>::max() / type->size)
    wrong("a storage of impossible length", where);
  expect<std::string>(items[3], "a device", where);  // wherever it was, it is in the file now
  const auto& key = expect<std::string>(items[2], "a key", where);
  if (key.size() > longest_key) wrong("a storage with a key of more than 64 bytes", where);
  return {&*type, key, elements};
}

}  // namespace galapagos::torch_format
