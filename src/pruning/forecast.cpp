#include "reduction.hpp"

#include <algorithm>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/model/cost.hpp>
#include <galapagos/pruning/forecast.hpp>
#include <galapagos/pruning/passes.hpp>

namespace galapagos {
namespace {

/// Bytes between ranks: in all, and of every node what leaves or enters it.
class Traffic {
 public:
  Traffic(int ranks, int ranks_per_node)
      : per_node_(ranks_per_node),
        nodes_(static_cast<std::size_t>((ranks + ranks_per_node - 1) / ranks_per_node)) {}

  void add(int from, int to, std::uint64_t bytes) {
    total_ += bytes;
    const int a = from / per_node_, b = to / per_node_;
    if (a == b) return;
    nodes_[static_cast<std::size_t>(a)] += bytes;
    nodes_[static_cast<std::size_t>(b)] += bytes;
  }
  std::uint64_t total() const { return total_; }
  std::uint64_t busiest(const Traffic& other) const {
    std::uint64_t most = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) most = std::max(most, nodes_[i] + other.nodes_[i]);
    return most;
  }

 private:
  int per_node_;
  std::vector<std::uint64_t> nodes_;
  std::uint64_t total_ = 0;
};

/// That go through it, as if they went to experts evenly.
double share_of_tokens(const HfConfig& config, const ModuleId& module) {
  if (module.expert == no_expert) return 1;
  const auto experts = std::ssize(config.shape(module.layer).experts);
  return static_cast<double>(std::min(config.mixture->experts_per_token, experts)) /
         static_cast<double>(experts);
}

bool in_span(const LayerSpan& span, const ModuleId& module) {
  return module.layer >= span.first && module.layer < span.last;
}

/// Takes in what a rank holds at a time.
void note(DatabaseMemory& most, const DatabaseMemory& now) {
  most.weights = std::max(most.weights, now.weights);
  most.activations = std::max(most.activations, now.activations);
  most.hessians = std::max(most.hessians, now.hessians);
  most.pruning = std::max(most.pruning, now.pruning);
  most.peak = std::max(most.peak, now.weights + now.activations + now.hessians + now.pruning);
}

/// Follows one pass as build_database() goes through it: the collection, the reduction module by module, the
/// pruning.
void follow_pass(const DatabaseHeader& header, const PipelineGrid& grid, std::span<const ModuleId> modules,
                 std::span<const int> owners, const PassExtent& extent, int ranks, DatabaseMemory& most) {
  const HfConfig& config = header.config;
  std::vector<DatabaseMemory> now(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    if (!grid.member(rank)) continue;
    const LayerSpan& span = grid.spans[static_cast<std::size_t>(grid.stage_of(rank))];
    DatabaseMemory& mine = now[static_cast<std::size_t>(rank)];
    mine.weights = stage_weight_bytes(config, span, header.precision);
    mine.activations = activation_bytes(config, extent.most_tokens, extent.activations());
    for (const ModuleId& module : modules) {
      if (in_span(span, module)) mine.hessians += hessian_bytes(config, module);
    }
    note(most, mine);
    mine.activations = 0;
  }
  std::vector<std::uint64_t> owned(static_cast<std::size_t>(ranks)), work(static_cast<std::size_t>(ranks));
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const int stage = grid.stage_of_layer(modules[i].layer), owner = owners[i];
    const auto at = static_cast<std::size_t>(owner);
    const std::uint64_t bytes = hessian_bytes(config, modules[i]);
    owned[at] += bytes;
    work[at] = std::max(work[at], pruning_bytes(config, modules[i], extent));
    if (grid.lanes == 1 && grid.rank_of(0, stage) == owner) continue;  // stays where it is
    now[at].hessians += bytes;
    note(most, now[at]);
    for (int lane = 0; lane < grid.lanes; ++lane) {
      now[static_cast<std::size_t>(grid.rank_of(lane, stage))].hessians -= bytes;
    }
  }
  for (std::size_t rank = 0; rank < now.size(); ++rank) {
    now[rank].hessians = owned[rank];
    now[rank].pruning = work[rank];
    note(most, now[rank]);
  }
}

}  // namespace

double obs_operations(std::int64_t rows, std::int64_t columns, std::int64_t kept, std::int64_t unit,
                      bool weighed) {
  const auto n = static_cast<double>(columns), k = static_cast<double>(kept), d = static_cast<double>(rows);
  const auto u = static_cast<double>(unit);
  const double squares = n * n - k * k;
  const double updates = (n * n * n - k * k * k) / 3 + d * squares;  // of M (its half) and of W
  // The choice: for single columns products with the likely ones and the factors of a block of 128; for
  // structures a small factorisation and solve each.
  const double choice = unit == 1 ? 1.75 * d * squares + 192 * squares : (u / 3 + d) * squares / 2;
  // The root of G, its product with W, and W's own updates beside those of the weight that decides.
  const double weighing = weighed ? d * d * d / 3 + 2 * n * d * d + d * squares : 0;
  return n * n * n + updates + choice + weighing;  // the inverse first
}

double obs_traffic(std::int64_t rows, std::int64_t columns, std::int64_t kept, std::int64_t unit,
                   bool weighed) {
  const auto n = static_cast<double>(columns), k = static_cast<double>(kept), d = static_cast<double>(rows);
  // Every block of single columns, or every structure, takes a pass over half of M and some over W.
  const double at_a_time = unit == 1 ? 128 : static_cast<double>(unit);
  const double passes_over_w = (unit == 1 ? 3 : 4) + (weighed ? 2 : 0);
  return sizeof(float) * ((n * n * n - k * k * k) / 3 + passes_over_w * d * (n * n - k * k) / 2) / at_a_time;
}

DatabaseForecast forecast_database(const DatabaseHeader& header, const DatabaseOptions& options, int ranks,
                                   int ranks_per_node, std::uint64_t limit, Device device) {
  const HfConfig& config = header.config;
  const std::int64_t tokens = options.calibration_tokens;
  const PassExtent extent = {header.precision, std::max(options.batch_tokens, header.sequence_length), device,
                             options.sensitivity.has_value()};
  const std::vector<ModuleId> modules = header.modules();
  DatabaseForecast forecast;
  forecast.file = header.file_bytes();
  forecast.grid = make_pipeline_grid(layer_costs(config), ranks, options.lanes);
  const PipelineGrid& grid = forecast.grid;
  try {
    forecast.passes = plan_passes(config, grid, extent, modules, limit);
  } catch (const ResourceError& error) {
    forecast.too_small = error.what();
    forecast.passes = plan_passes(config, grid, extent, modules, 0);
  }
  const auto passes = static_cast<double>(forecast.passes.size()), lanes = static_cast<double>(grid.lanes);
  const double seen = mean_seen(header.sequence_length);

  const double share = share_sent(device, options.collectives);
  Traffic hidden(ranks, ranks_per_node), hessians(ranks, ranks_per_node);
  const auto states = static_cast<std::uint64_t>(passes * static_cast<double>(tokens) / lanes *
                                                 static_cast<double>(config.hidden_size)) *
                      sizeof(float);
  for (int lane = 0; lane < grid.lanes; ++lane) {
    for (int stage = 0; stage < grid.stages(); ++stage) {
      const int rank = grid.rank_of(lane, stage);
      if (stage > 0) hidden.add(rank - 1, rank, states);
      forecast.read += stage_weight_bytes(config, grid.spans[static_cast<std::size_t>(stage)], header.dtype);
    }
  }
  std::vector<double> collecting(static_cast<std::size_t>(grid.stages()));  // of a token, in all passes
  for (std::size_t stage = 0; stage < collecting.size(); ++stage) {
    const LayerSpan& span = grid.spans[stage];
    collecting[stage] = passes * span_operations(config, span.first, span.last, seen);
    for (const ModuleId& module : modules) {
      const auto n = static_cast<double>(module_columns(config, module));
      if (in_span(span, module)) collecting[stage] += share_of_tokens(config, module) * n * n;
    }
    forecast.collecting += static_cast<double>(tokens) * collecting[stage];
  }
  forecast.collecting_rank =
      static_cast<double>(tokens) / lanes * *std::max_element(collecting.begin(), collecting.end());
  const double batches =
      std::max(1.0, static_cast<double>(tokens) / lanes / static_cast<double>(options.batch_tokens));
  const auto more = static_cast<double>(grid.stages() - 1);
  forecast.waiting = more / (batches + more);

  for (const auto& pass : forecast.passes) {
    const std::vector<int> owners = assign_owners(pass, config, grid, ranks);
    follow_pass(header, grid, pass, owners, extent, ranks, forecast.memory);
    std::vector<double> work(static_cast<std::size_t>(ranks)), streamed(work.size());
    for (std::size_t i = 0; i < pass.size(); ++i) {
      const StructureLayout layout = header.layout(pass[i]);
      const std::int64_t kept =
          header.kept_columns(pass[i], static_cast<std::int64_t>(header.removed(pass[i]).size()) - 1);
      const double operations =
          obs_operations(config.hidden_size, layout.columns, kept, layout.unit, extent.weighed);
      work[static_cast<std::size_t>(owners[i])] += operations;
      streamed[static_cast<std::size_t>(owners[i])] +=
          obs_traffic(config.hidden_size, layout.columns, kept, layout.unit, extent.weighed);
      forecast.pruning += operations;
      forecast.read +=
          static_cast<std::uint64_t>(layout.columns * config.hidden_size) * size_of(header.dtype);
      for (int lane = 0; lane < grid.lanes; ++lane) {
        const int holder = grid.rank_of(lane, grid.stage_of_layer(pass[i].layer));
        if (holder == owners[i]) continue;
        hessians.add(holder, owners[i],
                     static_cast<std::uint64_t>(share * static_cast<double>(hessian_bytes(config, pass[i]))));
      }
    }
    forecast.pruning_rank += *std::max_element(work.begin(), work.end());
    forecast.pruning_streamed += *std::max_element(streamed.begin(), streamed.end());
  }
  forecast.hidden_moved = hidden.total();
  forecast.hessians_moved = hessians.total();
  forecast.busiest_node = hidden.busiest(hessians);
  return forecast;
}

}  // namespace galapagos
