#include "search_memory.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/search/least_loss.hpp>

namespace galapagos {
namespace {

void check_fits(const SearchFootprint& footprint, std::uint64_t limit) {
  if (footprint.dense + footprint.training <= limit) return;
  const std::string tuning =
      footprint.training > 0
          ? " and fine-tuning, learning levels or timing whole models " + human_bytes(footprint.training)
          : "";
  throw ResourceError(
      fmt::format("a replica of the model needs {}{} on a rank, which may use {} beside its share of the "
                  "unpruned model's answers",
                  human_bytes(footprint.dense), tuning, human_bytes(limit)),
      "memory",
      footprint.training > 0
          ? "use more --shards, --recompute, a smaller --sequence-length or fewer ranks per node, or raise "
            "--memory-limit"
          : "use more --shards, start fewer ranks per node, use fewer --calibration-tokens, or raise "
            "--memory-limit");
}

}  // namespace

SearchMemory plan_memory(const Communicator& comm, const Communicator& node, const ReplicaGrid& grid,
                         const SearchSetup& setup, Device device) {
  const SearchOptions& options = setup.options;
  const SearchExtent extent{setup.precision,
                            setup.database->header().dtype,
                            options.batch_tokens,
                            setup.longest,
                            most_parameters(setup.space, setup.budgets.front()),
                            grid.replicas(),
                            device,
                            !options.eval_data.empty() || !options.choices.empty(),
                            asked_of_races(options)};
  const SearchFootprint footprint = agree_on(comm, [&] {
    const SearchSpace& space = setup.space.every_module();
    const SpacePart part = part_of_space(space, setup.config, grid.shard(), grid.shards());
    SearchFootprint found =
        search_footprint(space, part, options.evolution, options.fitness, options.tuning, extent);
    if (setup.whole.timing)  // while nothing is trained
      found.training =
          std::max(found.training, whole_time_bytes(setup.config, extent.most_parameters, *setup.whole.timing,
                                                    options.target.phase(), extent.activations()));
    return found;
  });
  SearchMemory memory;
  if (row_of(options.fitness.kind).with_dense) {
    memory.answers = setup.pools.compared.tokens.size() * static_cast<std::size_t>(setup.config.hidden_size) *
                     sizeof(float);
  }
  NodeRoom room;
  room.rank = memory_per_rank(comm, options.memory_limit, device);
  room.ranks = node.size();
  if (device != Device::cpu) room.host = memory_share(available_memory(), 1);
  const auto limit =
      static_cast<std::uint64_t>(comm.min(static_cast<std::int64_t>(replica_limit(room, memory.answers))));
  agree(comm, [&] { check_fits(footprint, limit); });
  const bool on_device = comm.all(fits_device(footprint, limit)),
             on_host = comm.all(fits_host(footprint, memory.answers, room));
  memory.home = options.level_cache.value_or(on_device ? LevelHome::device
                                             : on_host ? LevelHome::host
                                                       : LevelHome::file);
  memory.cache_limit = cache_limit(footprint, memory.home, limit);
  if (device != Device::cpu) memory.kept_logits = kept_logits_limit(footprint, memory.cache_limit, limit);
  log_info("level cache: {} (all levels built {}, in the database {}; a rank may use {})",
           name_of(memory.home), human_bytes(footprint.built), human_bytes(footprint.stored),
           human_bytes(limit));
  return memory;
}

}  // namespace galapagos
