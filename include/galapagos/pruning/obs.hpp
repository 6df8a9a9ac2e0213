#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>

namespace galapagos {

/// A module to be pruned by structured optimal brain surgeon (DarwinLM, arXiv 2502.07780).
struct ObsProblem {
  std::string name;       ///< for messages, e.g. "model.layers.3.mlp.down_proj"
  OwnedTensor weight;     ///< [columns, d_row] fp32: the transpose of the checkpoint's weight
  OwnedTensor hessian;    ///< [columns, columns] fp32, lower triangle, before damping
  std::int64_t unit = 1;  ///< columns of a structure
  std::int64_t round =
      0;  ///< 0: any structure may go next; r > 0: one out of each run of r structures per round
  double relative_damping = 1e-2;
  double least_mean = 0;  ///< the damping is a share of the mean diagonal of H, or of this where it is larger
  std::vector<std::int64_t> removed;       ///< structures removed at levels 1, 2, ..., ascending
  std::optional<Sensitivity> sensitivity;  ///< weighs the order by the end loss
};

/// What was done to a module.
struct ObsSummary {
  std::vector<std::int32_t> order;  ///< structures in order of removal, up to the last level
  std::vector<double> loss;         ///< tr((W - W0) H (W - W0)^T) / 2 after each removal, H damped
  std::vector<double> end_loss;   ///< tr(G (W - W0) H (W - W0)^T) / 2 at levels 0, 1, ..., H as given; with a
                                  ///< sensitivity
  double relative_damping = 0;    ///< the damping that was needed
  std::int64_t attempts = 1;      ///< factorisations tried; all but the first in fp64
  std::int64_t dead_columns = 0;  ///< columns whose input was always zero
};

/// Receives each level (1, 2, ...): the kept columns, ascending, and their weight [kept, d_row] fp32. Where
/// the damping has to be raised, the levels come again.
using LevelSink =
    std::function<void(std::int64_t level, std::span<const std::int64_t> kept, const Tensor& weight)>;

/// Removes structures greedily, each time the one of least score trace(W_:G (M_GG)^-1 W_:G^T), M = (damped
/// H)^-1, with the optimal update of the others. With a sensitivity the score is trace(G' W_:G (M_GG)^-1
/// W_:G^T), G' = G + a small multiple of the identity, which is that of R W, R^T R = G'; the updates do not
/// depend on it. Throws NumericalError naming the module where H stays indefinite after raising the damping.
ObsSummary structured_obs(const ops::Context& context, const ObsProblem& problem, const LevelSink& sink);

/// Bytes that it takes beside the problem, of that many columns with weights of `hidden` rows, `weighed` by a
/// sensitivity or not; but for blocks of a few columns on their way.
std::uint64_t obs_bytes(std::int64_t columns, std::int64_t hidden, Device device, bool weighed);

}  // namespace galapagos
