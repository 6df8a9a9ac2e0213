#include "sections.hpp"

#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/report/scale.hpp>
#include <galapagos/report/screen.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

/// The fitness of the best: where the run has ended its manifest's, else the last comparison's.
double best_fitness(const RunData& run) {
  if (const double best = run.manifest_number("best.fitness"); !std::isnan(best)) return best;
  return run.comparisons.empty() ? unknown : run.comparisons.rbegin()->second.fitness;
}

Tile size_tile(const RunData& run) {
  const double left = run.manifest_number("best.parameters"),
               dense = run.manifest_number("best.dense_parameters");
  if (left >= 0 && dense > 0)
    return {"parameters", short_number(left),
            fmt::format("{:.1f} % of {}", 100 * left / dense, short_number(dense))};
  const double parameters = run.manifest_number("parameters");
  return {"parameters", std::isnan(parameters) ? "" : short_number(parameters), ""};
}

Tile work_tile(const RunData& run) {
  if (!run.islands.empty()) {
    std::map<std::int64_t, const IslandLine*> last;
    for (const auto& [place, line] : run.islands) last[place.island] = &line;
    double evaluations = 0, tokens = 0;
    for (const auto& [island, line] : last) {
      evaluations += static_cast<double>(std::max<std::int64_t>(line->evaluations, 0));
      tokens += static_cast<double>(std::max<std::int64_t>(line->tokens, 0));
    }
    return {"candidates", short_number(evaluations), short_number(tokens) + " tokens"};
  }
  if (!run.updates.empty())
    return {"updates", whole(run.updates.back().step),
            short_number(static_cast<double>(run.updates.back().tokens)) + " tokens"};
  if (!run.layers.empty()) return {"layers", std::to_string(run.layers.size()), ""};
  return {"", "", ""};
}

Tile result_tile(const RunData& run) {
  if (const double fitness = best_fitness(run); !std::isnan(fitness)) {
    const std::string kind = run.option("fitness");
    return {"best fitness", decimal(fitness, 4), kind.empty() ? "" : kind + " on common tokens"};
  }
  if (!run.perplexities.empty() && !run.perplexities.back().perplexity.empty()) {
    const auto& [name, value] = run.perplexities.back().perplexity.front();
    return {"perplexity", decimal(value, 4), "on " + std::filesystem::path(name).filename().string()};
  }
  if (!run.models.empty())
    return {"held-out KL", decimal(run.models.back().kl, 4), "of " + run.models.back().name};
  if (!run.updates.empty()) return {"loss", decimal(run.updates.back().loss, 4), "of the last update"};
  return {"", "", ""};
}

double joules_in(const RunData& run) {
  double joules = 0;
  for (const BillLine& part : run.bill) joules += joules_of(part);
  return joules;
}

std::string target_of(const RunData& run) {
  std::string text;
  for (const char* name : {"target-level", "target-params", "target-sparsity", "target-memory",
                           "target-kv-cache", "target-latency", "target-speedup", "targets"}) {
    const std::string value = run.option(name);
    if (value.empty()) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ",
                        std::string_view(name).substr(name[6] == '-' ? 7 : 0), value);
  }
  return text;
}

std::string facts(const RunData& run) {
  std::vector<Row> rows(1);
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) rows.push_back({name, value});
  };
  add("folder", run.folder.string());
  add("model", !run.option("model").empty() ? run.option("model") : run.manifest_text("model"));
  add("reference", run.option("reference"));
  add("database", run.option("database"));
  add("target", target_of(run));
  if (!run.option("strategy").empty())
    add("search",
        fmt::format("{} from {}, {} of {} offspring, {} generations, seed {}", run.option("strategy"),
                    run.manifest_text("start").empty() ? "its start" : run.manifest_text("start"),
                    run.option("islands") == "1" ? "1 island" : run.option("islands") + " islands",
                    run.option("offspring"), run.option("generations"), run.option("seed")));
  if (const double ranks = run.manifest_number("ranks"); ranks > 0) {
    const double shards = run.manifest_number("shards");
    add("ranks", fmt::format("{:.0f}{}", ranks, shards > 1 ? fmt::format(", {:.0f} a replica", shards) : ""));
  }
  for (const char* where : {"host", "gpu"}) {
    const double bytes = run.manifest_number(std::string("memory.") + where);
    if (bytes >= 0 && bytes < 1e18)
      add("most memory of a rank's tensors", human_bytes(static_cast<std::uint64_t>(bytes)) + " " + where);
  }
  add("started", run.manifest_text("started"));
  add("finished", run.manifest_text("finished"));
  add("program", run.manifest_text("tool_version"));
  if (run.unreadable_lines > 0) add("lines that could not be read", whole(run.unreadable_lines));
  return table(rows, false);
}

std::string options_of(const RunData& run) {
  if (run.options.empty()) return "";
  std::vector<Row> given = {{"given", ""}}, usual = {{"by default", ""}};
  for (const GivenOption& option : run.options)
    (option.source == "default" ? usual : given).push_back({option.name, option.value});
  return element("details", {},
                 element("summary", {}, fmt::format("all {} options", run.options.size())) +
                     element("div", {{"class", "side"}}, table(given, false) + table(usual, false)));
}

}  // namespace

std::string summary_section(const RunData& run) {
  const double seconds = run.seconds();
  const Headway way = headway_of(run);
  const Standing standing = standing_of(run);
  std::string far;
  if (standing != Standing::done && way.of > 0)
    far = fmt::format("{} of {} {}", short_number(way.done), short_number(way.of), way.unit);
  return tiles({result_tile(run),
                size_tile(run),
                work_tile(run),
                {"time", std::isnan(seconds) ? "" : human_duration(seconds), ""},
                {"node-hours", std::isnan(run.node_hours()) ? "" : short_number(run.node_hours()), ""},
                {"energy", energy(joules_in(run)), ""},
                {"state", name_of(standing), far}}) +
         facts(run) + options_of(run);
}

}  // namespace galapagos::report
