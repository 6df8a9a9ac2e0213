#include <algorithm>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/tensor/gpu.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {

StageWeights load_stage(const ModelSource& source, const LayerSpan& span) {
  StageWeights stage;
  stage.span = span;
  for (std::int64_t layer = span.first; layer < span.last; ++layer) {
    stage.layers.push_back(source.layer(layer));
  }
  if (span.first == 0) stage.embedding = source.embedding();
  return stage;
}

ForwardBuffers::ForwardBuffers(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                               std::size_t batches, const Shards& shards)
    : layers(context, config, most_tokens, shards) {
  for (std::size_t i = 0; i < batches; ++i) hidden.push_back(hidden_states(context, config, most_tokens));
}

std::vector<double> layer_costs(const HfConfig& config) {
  std::vector<double> costs;
  for (const LayerShape& shape : config.layer_shapes) {
    costs.push_back(1.0 +
                    static_cast<double>(layer_parameters(config, shape)));  // an empty layer is not free
  }
  return costs;
}

std::uint64_t stage_weight_bytes(const HfConfig& config, const LayerSpan& span, DType precision) {
  std::int64_t parameters = span.first == 0 ? embedding_parameters(config) : 0;
  for (std::int64_t layer = span.first; layer < span.last; ++layer) {
    parameters += layer_parameters(config, config.shape(layer));
  }
  return static_cast<std::uint64_t>(parameters) * size_of(precision);
}

std::uint64_t activation_bytes(const HfConfig& config, std::int64_t most_tokens, DType activations,
                               std::size_t batches) {
  // A CPU would have them in fp32, whatever is asked for.
  const ops::Context context = ops::Context::planned(Device::cuda, activations);
  return bytes_held([&] { return ForwardBuffers(context, config, most_tokens, batches); });
}

std::uint64_t memory_share(std::uint64_t free_bytes, int ranks_on_node) {
  constexpr double usable_share = 0.85;
  return static_cast<std::uint64_t>(usable_share * static_cast<double>(free_bytes) / ranks_on_node);
}

namespace {

/// This rank's share of what its GPU has free, of which it may not be the only user.
std::uint64_t share_of_gpu(const Communicator& comm, const Communicator& node) {
  const FreeGpuMemory free = agree_on(comm, free_gpu_memory);
  const std::vector<GpuUuid> of_node = node.all_gather(free.uuid);
  return memory_share(free.bytes, static_cast<int>(std::count(of_node.begin(), of_node.end(), free.uuid)));
}

}  // namespace

std::uint64_t memory_per_rank(const Communicator& comm, std::uint64_t asked, Device device) {
  if (asked > 0) return asked;
  const Communicator node = comm.split_node();
  const std::uint64_t mine =
      device == Device::cpu ? memory_share(available_memory(), node.size()) : share_of_gpu(comm, node);
  return static_cast<std::uint64_t>(comm.min(static_cast<std::int64_t>(mine)));
}

}  // namespace galapagos
