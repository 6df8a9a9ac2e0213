#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/model/partition.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

enum class Slicing : std::uint8_t {
  none,  ///< every shard has all of it: norms
  rows,  ///< and biases
  columns,
};

/// What a shard has of a parameter of the whole model.
struct ParameterSlice {
  std::string name;  ///< in the checkpoint
  Shape whole;
  Slicing slicing = Slicing::none;
  Range range;  ///< rows or columns; all rows where it is not sliced

  Shape shape() const;
};

/// Every parameter of the model, in the order of parameters_of(), also where the part has nothing of it.
std::vector<ParameterSlice> parameter_slices(const HfConfig& whole, const ModelPart& part);

/// Whether every shard has all of the parameter of this name.
bool held_by_all(const std::string& name);

}  // namespace galapagos
