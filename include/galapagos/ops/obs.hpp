#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/ops/context.hpp>

namespace galapagos::ops {

/// What structured OBS carries for n columns of a weight with d_row rows, all fp32. Matrices are symmetric
/// and only their lower triangle is kept. After columns are dropped the matrices are those of the columns
/// left, in ascending order.
struct ObsState {
  OwnedTensor weight;        ///< [n, d_row]: row j is column j of W
  OwnedTensor inverse;       ///< [n, n]: M, the inverse of the damped Hessian of the columns left
  std::int64_t columns = 0;  ///< n, the columns left
  std::int64_t rows = 0;     ///< d_row
};

/// Damps the Hessian in the lower triangle of state.inverse, as the reference: dead columns (H_jj = 0) get
/// H_jj = 1 and W_:j = 0; the damping is that share of the mean diagonal after that; columns of W that are
/// all zero leave H but for a diagonal of 1. Returns the number of dead columns.
std::int64_t obs_damp(const Context& context, ObsState& state, double relative_damping);

/// Replaces the lower triangle of h [n, n] by that of its inverse (Cholesky: potrf, potri); in fp64 inside
/// with `wide`. False, with h spoilt, where h is not positive definite or its inverse is not finite.
bool invert_spd(const Context& context, const Tensor& h, bool wide);

/// Removes `count` single columns, each time the one of least score |W_:j|^2 / M_jj (ties: the lowest), by
/// a blocked form, and drops them from the state. Appends the removed columns, as
/// positions before the call, and their scores. False where M is no longer positive definite to working
/// precision.
bool obs_remove_columns(const Context& context, ObsState& state, std::int64_t count,
                        std::vector<std::int64_t>& removed, std::vector<double>& scores);

/// Scores trace(W_:G (M_GG)^-1 W_:G^T) of the structures of `size` consecutive columns; false as above.
bool obs_structure_scores(const Context& context, const ObsState& state, std::int64_t size,
                          std::vector<double>& scores);

/// Removes the structure of `size` columns at position `structure` with its OBS update and drops its columns.
bool obs_remove_structure(const Context& context, ObsState& state, std::int64_t size, std::int64_t structure);

}  // namespace galapagos::ops
