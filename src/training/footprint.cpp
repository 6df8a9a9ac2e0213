#include <algorithm>

#include <galapagos/core/text.hpp>
#include <galapagos/model/training_pass.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/footprint.hpp>
#include <galapagos/training/optimiser.hpp>

namespace galapagos {

std::uint64_t TrainFootprint::total() const {
  return weights + gradients + optimiser + activations + reference + data + std::max(evaluation, writing);
}

std::string reference_text(const TrainFootprint& footprint, const std::string& separator) {
  if (footprint.reference == 0) return "";
  return separator + "reference " + human_bytes(footprint.reference) +
         (footprint.hidden > 0 ? " (hidden states " + human_bytes(footprint.hidden) + ")" : "");
}

TrainFootprint train_footprint(const HfConfig& config, const ModelSource* reference,
                               const TrainExtent& extent) {
  const std::int64_t count = parameters_in_model(config);
  const auto parameters = static_cast<std::uint64_t>(count);
  TrainFootprint footprint;
  footprint.weights = parameters * size_of(extent.precision);
  footprint.gradients = parameters * sizeof(float);
  footprint.optimiser = ShardedAdamW::bytes(count, extent.replicas);
  footprint.activations = TrainingPass::bytes(config, extent.longest_batch, extent.recompute, extent.device,
                                              extent.activations, extent.loss);
  if (reference != nullptr) {
    const auto of_teacher = [&](std::span<const std::int64_t> layers) {
      return Teacher::bytes(*reference, extent.longest_batch, extent.device, extent.activations, layers);
    };
    footprint.reference = of_teacher(extent.loss.layers);
    footprint.hidden = footprint.reference - of_teacher({});
  }
  footprint.data = static_cast<std::uint64_t>(extent.data_tokens) *
                   (sizeof(std::int32_t) + (extent.marked ? sizeof(std::uint8_t) : 0));
  if (extent.evaluation_batch > 0)
    footprint.evaluation = nll_bytes(config, extent.evaluation_batch, extent.device, extent.activations);
  // A file's tensors, and the largest one as it is rounded.
  const std::int64_t largest = config.hidden_size * std::max(config.vocab_size, config.intermediate_size);
  const auto shards = static_cast<std::uint64_t>(extent.shards);
  footprint.writing = std::min(shards * parameters * size_of(extent.stored), extent.shard_bytes) +
                      shards * static_cast<std::uint64_t>(largest) * sizeof(float);
  return footprint;
}

}  // namespace galapagos
