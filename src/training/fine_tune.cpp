#include <algorithm>
#include <cmath>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/model/training_pass.hpp>
#include <galapagos/training/fine_tune.hpp>
#include <galapagos/training/optimiser.hpp>

namespace galapagos {

FineTuneEnd fine_tune(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
                      DType precision, const TokenSet& sequences, const FineTuneOptions& options,
                      const std::function<bool()>& stop, const Shards& shards) {
  std::int64_t longest = 0;
  for (std::size_t s = 0; s < sequences.sequences(); ++s)
    longest = std::max(longest, static_cast<std::int64_t>(sequences.sequence(s).size()));
  if (longest < 2) return FineTuneEnd::done;
  const std::unique_ptr<Collectives> itself = make_mpi_collectives(Communicator::self());
  const Gradients gradients(weights, context.device());
  ShardedAdamW optimiser(*itself, context, weights, precision, AdamWOptions(), shards);
  TrainingPass pass(context, config, longest, options.recompute, shards);
  for (std::size_t s = 0; s < sequences.sequences(); ++s) {
    if (shards.root_says(stop && stop())) return FineTuneEnd::stopped;
    const std::span<const std::int32_t> tokens = sequences.sequence(s);
    if (tokens.size() < 2) continue;  // predicts nothing
    const auto count = static_cast<std::int64_t>(tokens.size());
    const double loss =
        pass.run(weights, {tokens, {0, count}}, 1.0f / static_cast<float>(count - 1), {}, gradients).all;
    if (shards.root_says(!std::isfinite(loss))) return FineTuneEnd::diverged;
    if (!optimiser.step_unclipped(gradients, options.learning_rate)) return FineTuneEnd::diverged;
  }
  return FineTuneEnd::done;
}

std::uint64_t fine_tune_bytes(const HfConfig& config, std::int64_t parameters, std::int64_t longest_sequence,
                              bool recompute, Device device, DType activations) {
  return static_cast<std::uint64_t>(parameters) * sizeof(float) + ShardedAdamW::bytes(parameters, 1) +
         TrainingPass::bytes(config, longest_sequence, recompute, device, activations);
}

}  // namespace galapagos
