#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/obs.hpp>

namespace galapagos::ops::cpu {

/// Drops the columns at `positions` (ascending) from every part of the state, in place.
void drop_columns(ObsState& state, std::span<const std::int64_t> positions);

/// The sum of squares in fp64.
double square_sum(const float* values, std::int64_t count);

/// row[i] = matrix[i, j] for all i of a symmetric matrix [n, n] whose lower triangle is kept, i in [first,
/// last).
void copy_symmetric_row(const float* matrix, std::int64_t n, std::int64_t j, std::int64_t first,
                        std::int64_t last, float* row);

}  // namespace galapagos::ops::cpu
