#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/weight_fit.hpp>

namespace galapagos {

/// The least-squares fit of a module's output projection W [hidden, n] on the text of all ranks: W = argmin
/// sum |x + W a - t|^2 + r |W - W_0|^2, W_0 as it is, the ridge r chosen on text that is held out, and W with
/// it then on all of the text (as `--compensate auto`).
class OutputFit {
 public:
  /// `purpose` names the module.
  OutputFit(const ops::Context& context, std::int64_t columns, std::int64_t hidden,
            const std::string& purpose);

  /// Bytes of it, while it solves included.
  static std::uint64_t bytes(std::int64_t columns, std::int64_t hidden, Device device);

  /// Adds a batch: the projection's input a [t, n], and `left` = t - x - W_0 a [t, hidden] fp32.
  void add(const Tensor& input, const Tensor& left, bool held_out);
  /// Collective over `replicas`. Puts the fit into the weight; returns the ridge, infinite where the weight
  /// stays. The sensitivity weighs what the ridge is chosen by; it may be null.
  double solve(Collectives& replicas, const Sensitivity* sensitivity, const Tensor& weight);

 private:
  const ops::Context& context_;
  ops::Context exact_;  // whose products keep fp32
  std::string name_;
  std::vector<FitSums> parts_;  // fitted, held out
};

}  // namespace galapagos
