#pragma once

#include <cstdint>

namespace galapagos {

/// How well a model predicts one sequence. A token is predicted from those before it, so the first never is.
struct SequenceScore {
  std::int64_t predicted = 0;  ///< tokens
  double nll = 0;              ///< sum of negative log-likelihoods, natural logarithm
  std::int64_t greedy = 0;     ///< predicted tokens that the model finds most probable
  double kl = 0;               ///< sum of KL(reference || model), with a reference
  std::int64_t agreed = 0;     ///< predictions whose most probable token is the reference's, with a reference
};

}  // namespace galapagos
