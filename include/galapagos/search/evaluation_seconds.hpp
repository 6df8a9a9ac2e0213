#pragma once

namespace galapagos {

/// Where the time of evaluations went.
struct EvaluationSeconds {
  double switching = 0;  ///< building modules of other levels
  double training = 0;   ///< fine-tuning, without sums over shards
  double layers = 0;
  double head = 0;  ///< logits and the comparison with the dense model
};

}  // namespace galapagos
