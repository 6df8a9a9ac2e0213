#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/model/pipeline.hpp>
#include <galapagos/model/replicas.hpp>
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

struct EvaluationOptions {
  std::int64_t batch_tokens = 4096;
  std::uint64_t memory_limit = 0;  ///< bytes a rank may use; 0: its share of what the node has free
  /// For each sequence, how many of its tokens are only context and not scored; empty: the first one.
  std::vector<std::int64_t> context = {};
  /// Where a replica is held by several shards: how the ranks are dealt, of which the models given are the
  /// parts.
  const ReplicaGrid* grid = nullptr;
  MakeCollectives make_collectives = make_mpi_collectives;
};

/// The fewest stages whose ranks can each hold their part of all models, of which there are one or two,
/// within `limit` bytes. ResourceError where all ranks together cannot.
PipelineGrid evaluation_grid(std::span<const ModelSource* const> models, int ranks, std::int64_t most_tokens,
                             std::uint64_t limit, Device device, DType activations = DType::f32);
/// Bytes of a rank that evaluates layers `span` of all models, with so many batches on their way: one where
/// shards compute them together.
std::uint64_t evaluation_bytes(std::span<const ModelSource* const> models, const LayerSpan& span,
                               std::int64_t most_tokens, Device device, DType activations = DType::f32,
                               std::size_t batches = streamed_batches);

/// Collective. The scores of all sequences, in their order, on every rank, whatever the number of ranks. Each
/// rank holds the whole model (and the reference, or null) where that fits, else as few consecutive ranks as
/// can hold it share its layers; with a grid of replicas their shards share every layer. ResourceError where
/// all of them cannot; InputError where the reference has other layers, widths or ids. `times` may be null.
std::vector<SequenceScore> score_sequences(const Communicator& comm, const ops::Context& context,
                                           const ModelSource& model, const ModelSource* reference,
                                           const TokenSet& data, const EvaluationOptions& options,
                                           PhaseTimes* times = nullptr);

}  // namespace galapagos
