#pragma once

#include <cstdint>
#include <filesystem>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// How well a model predicts a text: every token of a sequence but its first is predicted.
struct Evaluation {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;  ///< predicted
  double nll = 0;           ///< mean negative log-likelihood per predicted token, natural logarithm

  double perplexity() const;
};

struct EvaluationOptions {
  DType precision = DType::f32;
  std::int64_t batch_tokens = 4096;
  std::uint64_t memory_limit = 0;  ///< bytes a rank may use; 0: its share of what the node has free
};

/// Collective; the result is on all ranks and does not depend on their number. Each rank holds the whole
/// model where that fits, else as few consecutive ranks as can hold it share one. ResourceError where all of
/// them cannot.
Evaluation evaluate(const Communicator& comm, const ops::Context& context, const Checkpoint& checkpoint,
                    const HfConfig& config, const TokenSet& data, const EvaluationOptions& options);

}  // namespace galapagos
