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
  OwnedTensor weight;    ///< [n, d_row]: row j is column j of W; its scores decide
  OwnedTensor follower;  ///< likewise, or empty: a weight that loses the same columns, with its own updates
  OwnedTensor inverse;   ///< [n, n]: M, the inverse of the damped Hessian of the columns left
  std::int64_t columns = 0;  ///< n, the columns left
  std::int64_t rows = 0;     ///< d_row

  bool followed() const { return follower->data != nullptr; }
};

/// What damping did.
struct ObsDamping {
  double added = 0;       ///< to the diagonal of H
  std::int64_t dead = 0;  ///< columns
};

/// Damps the Hessian in the lower triangle of state.inverse, as the reference: dead columns (H_jj = 0) get
/// H_jj = 1 and W_:j = 0; the damping is that share of the mean diagonal after that; columns of W (of the
/// follower, where there is one) that are all zero leave H but for a diagonal of 1. Where `least_mean` is
/// larger than that mean, the damping is a share of it; with any such, no columns are dead.
ObsDamping obs_damp(const Context& context, ObsState& state, double relative_damping, double least_mean = 0);

/// Replaces the lower triangle of h [n, n] by that of its inverse (Cholesky: potrf, potri); in fp64 inside
/// with `wide`. False, with h spoilt, where h is not positive definite or its inverse is not finite.
bool invert_spd(const Context& context, const Tensor& h, bool wide);

/// Replaces the lower triangle of a [n, n] by its Cholesky factor, in fp64 inside, and what lies above by
/// zeros. False, with a spoilt, where a is not positive definite.
bool factor_spd(const Context& context, const Tensor& a);

/// Removes `count` single columns, each time the one of least score |W_:j|^2 / M_jj (ties: the lowest), by
/// a blocked form, and drops them from the state. Appends the removed columns, as
/// positions before the call, their scores, and those of the follower. False where M is no longer positive
/// definite to working precision.
bool obs_remove_columns(const Context& context, ObsState& state, std::int64_t count,
                        std::vector<std::int64_t>& removed, std::vector<double>& scores,
                        std::vector<double>& follower_scores);

/// Scores trace(W_:G (M_GG)^-1 W_:G^T) of the structures of `size` consecutive columns; false as above.
bool obs_structure_scores(const Context& context, const ObsState& state, std::int64_t size,
                          std::vector<double>& scores);

/// Removes the structure of `size` columns at position `structure` with its OBS update and drops its columns.
/// Appends the score of the follower.
bool obs_remove_structure(const Context& context, ObsState& state, std::int64_t size, std::int64_t structure,
                          std::vector<double>& follower_scores);

/// |W - W_0|_F^2 of a weight [kept, d_row] whose rows are those at `kept`, ascending, of start [n, d_row];
/// the others have become zero. Summed in fp64.
double obs_change(const Context& context, const Tensor& start, std::span<const std::int64_t> kept,
                  const Tensor& weight);

}  // namespace galapagos::ops
