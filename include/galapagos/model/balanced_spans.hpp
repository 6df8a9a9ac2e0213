#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/model/range.hpp>

namespace galapagos {

/// Consecutive layers.
using LayerSpan = Range;

/// Cuts the layers into `stages` spans so that the costliest span is as cheap as possible.
std::vector<LayerSpan> balanced_spans(std::span<const double> layer_costs, int stages);

}  // namespace galapagos
