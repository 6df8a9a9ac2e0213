#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/model/evaluation_grid.hpp>
#include <galapagos/model/sequence_score.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// Means over the predicted tokens of many sequences.
struct Evaluation {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;  ///< predicted
  double nll = 0;
  double kl = 0;              ///< with a reference
  double top1_agreement = 0;  ///< with a reference

  double perplexity() const;
};

/// The means of some sequences' scores.
Evaluation summarise(std::span<const SequenceScore> scores);

/// Collective. The scores of all sequences, in their order, on every rank, whatever the number of ranks. Each
/// rank holds the whole model (and the reference, or null) where that fits, else as few consecutive ranks as
/// can hold it share its layers; with a grid of replicas their shards share every layer. ResourceError where
/// all of them cannot; InputError where the reference has other layers, widths or ids. `times` may be null.
std::vector<SequenceScore> score_sequences(const Communicator& comm, const ops::Context& context,
                                           const ModelSource& model, const ModelSource* reference,
                                           const TokenSet& data, const EvaluationOptions& options,
                                           PhaseTimes* times = nullptr);

}  // namespace galapagos
