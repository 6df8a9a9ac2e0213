#include "sensitivity_totals.hpp"

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

namespace galapagos {
namespace {

constexpr int sum_tag = 22;
constexpr std::size_t values_per_message = 1 << 26;

/// A rank that has some of a module's numbers, from `first` on.
struct Contribution {
  int rank = 0;
  std::size_t first = 0, count = 0;
};

/// Calls work for pieces that fit a message.
void for_pieces(std::vector<float>& values, const std::function<void(std::span<float>)>& work) {
  for (std::size_t at = 0; at < values.size(); at += values_per_message)
    work(std::span(values).subspan(at, std::min(values_per_message, values.size() - at)));
}

/// To be called on all ranks. Adds what the contributors have, in their order, to the owner's total.
void add_at_owner(const Communicator& comm, std::span<const Contribution> contributions, int owner,
                  std::vector<float> own, std::vector<float>& total) {
  std::vector<float> theirs;
  for (const Contribution& one : contributions) {
    if (one.rank == comm.rank() && one.rank != owner)
      for_pieces(own,
                 [&](std::span<float> piece) { comm.send(std::span<const float>(piece), owner, sum_tag); });
    if (comm.rank() != owner) continue;
    if (one.rank != owner) {
      theirs.resize(one.count);
      for_pieces(theirs, [&](std::span<float> piece) { comm.receive(piece, one.rank, sum_tag); });
    }
    const std::vector<float>& added = one.rank == owner ? own : theirs;
    for (std::size_t v = 0; v < one.count; ++v) total[one.first + v] += added[v];
  }
}

/// Where the numbers of a module's first order lie: each shard has the rows of its columns.
std::vector<Contribution> first_order_parts(const SensitivitySetup& setup, const ModuleId& module) {
  const GradientDealing& dealing = setup.dealing;
  const HfConfig& config = setup.header.config;
  std::vector<Contribution> parts;
  for (int lane = 0; lane < dealing.grid.lanes; ++lane) {
    for (int shard = 0; shard < dealing.shards; ++shard) {
      const LayerPart& part =
          dealing.dense[static_cast<std::size_t>(shard)].layers[static_cast<std::size_t>(module.layer)];
      const bool attention = module.kind == ModuleKind::attention;
      const Range& range = attention ? part.heads : part.columns;
      const std::int64_t size = config.hidden_size * (attention ? config.head_dim : 1);
      parts.push_back(
          {dealing.grid.rank_of(lane, dealing.grid.stage_of_layer(module.layer)) * dealing.shards + shard,
           static_cast<std::size_t>(range.first * size), static_cast<std::size_t>(range.count() * size)});
    }
  }
  return parts;
}

}  // namespace

void add_to_totals(const Communicator& comm, const SensitivitySetup& setup,
                   const GradientCollector* collector, Sensitivities& totals) {
  const GradientDealing& dealing = setup.dealing;
  for (std::size_t i = 0; i < setup.modules.size(); ++i) {
    const ModuleId& module = setup.modules[i];
    const int owner = dealing.owner(i, module);
    ModuleSensitivity nobody;
    ModuleSensitivity& total = comm.rank() == owner ? totals[module] : nobody;
    if (comm.rank() == owner) total.curvature.resize(setup.header.values(), 0.0f);
    std::vector<Contribution> holders;
    for (int lane = 0; lane < dealing.grid.lanes; ++lane)
      holders.push_back({dealing.holder(lane, i, module), 0, setup.header.values()});
    std::vector<float> own;
    if (collector != nullptr && collector->sums().count(module) > 0)
      own = collector->sums().at(module).take();
    add_at_owner(comm, holders, owner, std::move(own), total.curvature);
    if (!setup.header.has_first_order()) continue;
    if (comm.rank() == owner) total.first_order.resize(setup.header.weight_values(module), 0.0f);
    own.clear();
    if (collector != nullptr && collector->first_orders().count(module) > 0) {
      const OwnedTensor& sum = collector->first_orders().at(module);
      const OwnedTensor on_host = copy_of(sum, Device::cpu, "a module's first order");
      own.assign(on_host->floats(), on_host->floats() + on_host->elements());
      fill_zero(sum);
    }
    add_at_owner(comm, first_order_parts(setup, module), owner, std::move(own), total.first_order);
  }
}

}  // namespace galapagos
