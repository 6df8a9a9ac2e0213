#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include <galapagos/model/routing.hpp>

namespace galapagos {

/// The loss that keeps the experts of a batch's mixtures in even use (Switch Transformers, Fedus et al. 2021,
/// equation 4), over the rows of all routers at once as transformers computes it for Mixtral and Qwen3-MoE: E
/// sum_e f_e P_e, with f_e how often expert e is chosen and P_e the mean of its probability, per row; 1 for
/// each expert that a token goes to where all are used evenly. Mixtures that differ in their number of
/// experts, as pruned ones do, are groups of their own, each with the weight of its rows.
class RouterBalance {
 public:
  /// The rows of a layer's router.
  void add(const Routing& routing);
  double loss() const;
  /// The gradient of `weight` times the loss by the probability of each expert, the same in every row of such
  /// a layer.
  std::vector<float> gradient(const Routing& routing, double weight) const;

 private:
  struct Group {
    double rows = 0;
    std::vector<double> chosen, probabilities;  // sums of each expert
  };

  std::map<std::int64_t, Group> groups_;  // by the number of experts
  double rows_ = 0;
};

}  // namespace galapagos
