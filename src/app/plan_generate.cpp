#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/model/cost.hpp>
#include <galapagos/model/generation.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos::app {

PlannedPhase plan_generate(const Machine& machine, const ModelSizes& model, const GenerationOptions& options,
                           std::int64_t prompt_tokens, std::int64_t texts, std::uint64_t asked_limit,
                           int shards) {
  const HfConfig& config = model.config;
  const DType activations = activations_of(machine, model);
  const ops::Context context = ops::Context::planned(machine.device(), activations);
  const int replicas = std::max(machine.ranks / shards, 1);
  const std::int64_t of_replica = (texts + replicas - 1) / replicas;
  const std::int64_t new_tokens = std::min(options.new_tokens, options.longest - prompt_tokens);
  const CacheExtents extents =
      generation_extents(options, of_replica, of_replica * prompt_tokens, prompt_tokens + new_tokens);
  std::uint64_t memory = 0, caches = 0;
  for (int shard = 0; shard < shards; ++shard) {
    ModelSource source;
    source.config = part_of_model(config, shard, shards).config;
    source.precision = model.precision;
    memory = std::max(memory, generation_bytes(source, extents, options.sampling, config.vocab_size,
                                               machine.device(), activations));
    caches = std::max(caches, bytes_held([&] {
                        return KvCache(context, source.config, extents.places, extents.capacity);
                      }));
  }
  const auto of_text = static_cast<double>(prompt_tokens + new_tokens);
  const double seen = of_text / 2;
  const double operations = static_cast<double>(texts) / replicas / shards *
                            (of_text * span_operations(config, 0, config.layers, seen) +
                             static_cast<double>(new_tokens) * logit_operations(config));
  // Weights are read once for each token of all texts that are written together.
  const double steps =
      static_cast<double>(new_tokens) *
      std::max(1.0, static_cast<double>(texts) / replicas / static_cast<double>(extents.places));
  const double streamed = steps * static_cast<double>(parameters_in_model(config)) *
                          static_cast<double>(size_of(model.precision)) / shards;
  PlannedPhase phase;
  phase.name = "generate";
  phase.rows = {{"data", fmt::format("{} prompts of up to {} tokens, {} new tokens each", count_text(texts),
                                     count_text(prompt_tokens), count_text(new_tokens))},
                {"grid", replicas_text(machine, shards)},
                {machine.memory_name(),
                 fmt::format("{}; of it {} for keys and values of {} texts of {} tokens", human_bytes(memory),
                             human_bytes(caches), extents.places, extents.capacity)},
                {"work", fmt::format("{} a rank, which reads {} of weights", human_operations(operations),
                                     bytes_text(streamed))}};
  phase.json["memory"] = {{"total", memory}, {"caches", caches}};
  phase.json["operations"] = {{"rank", operations}};
  phase.json["read"] = streamed;
  Clock clock(machine);
  clock.add("texts", clock.compute(operations, streamed));
  clock.write_to(phase);
  const std::uint64_t limit = machine.limit(asked_limit);
  check_rank(phase, memory, limit, "use more --shards, or a smaller --batch");
  phase.json["memory"]["limit"] = limit;
  return phase;
}

}  // namespace galapagos::app
