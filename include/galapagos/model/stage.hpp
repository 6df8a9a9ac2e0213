#pragma once

#include <vector>

#include <galapagos/model/pipeline.hpp>
#include <galapagos/model/source.hpp>

namespace galapagos {

/// The layers that a rank's stage owns; the first stage also has the embedding.
struct StageWeights {
  LayerSpan span;
  std::vector<LayerWeights> layers;
  OwnedTensor embedding;
};

/// Reads the weights of layers `span`. Errors as the source's.
StageWeights load_stage(const ModelSource& source, const LayerSpan& span);

/// What the layers cost, for make_pipeline_grid: their parameters.
std::vector<double> layer_costs(const HfConfig& config);

/// What batches of at most `most_tokens` tokens go through layers with: the layers' activations, and hidden
/// states of as many batches as are on their way at a time.
struct ForwardBuffers {
  LayerForward layers;
  std::vector<OwnedTensor> hidden;

  /// The references must outlive this.
  ForwardBuffers(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                 std::size_t batches, const Shards& shards = alone());
};

/// Bytes of a stage's weights at `precision`, and of its ForwardBuffers; by default of those that
/// stream_batches() wants.
std::uint64_t stage_weight_bytes(const HfConfig& config, const LayerSpan& span, DType precision);
std::uint64_t activation_bytes(const HfConfig& config, std::int64_t most_tokens,
                               DType activations = DType::f32, std::size_t batches = streamed_batches);

/// What a rank takes of a node's free memory where no limit is given: its share, less a margin.
std::uint64_t memory_share(std::uint64_t free_bytes, int ranks_on_node);

/// Bytes this rank may use of the memory where its tensors lie: `asked`, or where that is 0 its share of what
/// its node, or its GPU, has free. Collective; the least over ranks.
std::uint64_t memory_per_rank(const Communicator& comm, std::uint64_t asked, Device device);

}  // namespace galapagos
