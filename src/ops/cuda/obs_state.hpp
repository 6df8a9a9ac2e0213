#pragma once

#include "products.hpp"

#include <galapagos/ops/obs.hpp>

namespace galapagos::ops::cuda {

/// Memory into which what is left of a state moves when columns are dropped; the two then change places.
struct ObsSpare {
  explicit ObsSpare(const ObsState& state)
      : weight(state.weight->shape, DType::f32, Device::cuda, "the weight of a module, twice"),
        inverse(state.inverse->shape, DType::f32, Device::cuda, "the inverse Hessian, twice") {
    if (state.followed())
      follower = OwnedTensor(state.follower->shape, DType::f32, Device::cuda, "the follower, twice");
  }
  OwnedTensor weight, inverse, follower;
};

/// Moves the columns kept[0 .. left), ascending, of every part of the state into `spare`, and exchanges them.
/// Nothing moves where *failed says so; the state is then spoilt.
void keep_columns(Resources& gpu, ObsState& state, ObsSpare& spare, const std::int32_t* kept,
                  std::int64_t left, const int* failed);

/// W [left, rows] -= F^T U for F [width, left], U [width, rows], likewise the follower with its own, and the
/// lower triangle of M [left, left] -= F^T F, once the columns are dropped.
void subtract_factors(Resources& gpu, ObsState& state, std::int64_t width, const float* factors,
                      const float* u, const float* follower_u);

/// sums[p] = the sum of squares of the p-th piece of `size` values.
void square_sums(Resources& gpu, const float* values, std::int64_t pieces, std::int64_t size, double* sums);

}  // namespace galapagos::ops::cuda
