#pragma once

#include "storage_types.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace galapagos::torch_format {

/// Something that a pickle builds. They may refer to one another, also in circles.
struct Node {
  struct None {};
  struct Mark {};
  /// One of the names of storage_types.hpp.
  struct Global {
    std::string name;
  };
  /// Its entry in the archive, and its length.
  struct Storage {
    const StorageType* type;
    std::string key;
    std::int64_t elements;
  };
  struct Tensor {
    Storage storage;
    std::int64_t offset;
    std::vector<std::int64_t> shape, strides;
  };
  struct Tuple {
    std::vector<const Node*> items;
  };
  struct List {
    std::vector<const Node*> items;
  };
  struct Dict {
    std::vector<std::pair<const Node*, const Node*>> items;
  };
  std::variant<None, Mark, bool, std::int64_t, double, std::string, Global, Storage, Tensor, Tuple, List,
               Dict>
      value;
};

/// What a pickle has built.
struct Pickled {
  std::deque<Node> nodes;
  const Node* top = nullptr;
};

/// Reads a pickle of protocol 2 as torch.save writes them, which may name only the above. InputError, naming
/// `where`, for every other name and operation, and for what is damaged.
Pickled read_pickle(std::span<const std::byte> bytes, const std::string& where);

/// The tensor that the arguments of _rebuild_tensor_v2 describe. InputError where they describe none.
Node::Tensor tensor_of_arguments(const Node::Tuple& arguments, const std::string& where);

/// The storage that a persistent id describes. InputError where it describes none.
Node::Storage storage_of_id(const Node& id, const std::string& where);

}  // namespace galapagos::torch_format
