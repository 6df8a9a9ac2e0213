#pragma once

#include <string>
#include <vector>

#include <galapagos/model/layer_tensors.hpp>

namespace galapagos {

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

}  // namespace galapagos
