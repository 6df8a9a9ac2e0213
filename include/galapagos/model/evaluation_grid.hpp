#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/model/pipeline.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// How sequences are scored.
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

}  // namespace galapagos
