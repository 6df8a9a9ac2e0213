#include "lenient.hpp"
#include "search_files.hpp"

namespace galapagos::report {
namespace {

void take_comparison(RunData& run, const Json& json, std::int64_t generation) {
  run.comparisons[generation] = {integer_of(json, "best_island"), number_of(json, "fitness"),
                                 numbers_in(member(json, "perplexity"))};
}

void take_island(RunData& run, const Json& json, std::int64_t generation) {
  IslandLine line;
  line.evaluations = integer_of(json, "evaluations");
  line.tokens = integer_of(json, "tokens");
  line.immigrants = integer_of(json, "immigrants", 0);
  line.best = number_of(json, "best");
  line.mean = number_of(json, "mean");
  line.elapsed = number_of(json, "elapsed");
  line.rank_correlation = number_of(json, "rank_correlation");
  line.surrogate_rank_correlation = number_of(json, "surrogate_rank_correlation");
  line.improved = flag_of(json, "improved");
  line.seconds = numbers_in(member(json, "seconds"));
  line.levels = levels_of(member(json, "levels"));
  // A run that was killed and gone on with repeats generations; the last word counts.
  run.islands[{generation, integer_of(json, "island")}] = std::move(line);
}

void take_layer(RunData& run, const Json& json) {
  LayerLine line{integer_of(json, "layer"), text_of(json, "kept"), {}, number_of(json, "held_out")};
  const std::string prefix = "held_out_";
  for (const auto& [name, value] : numbers_in(&json))
    if (name.starts_with(prefix)) line.held_out.emplace_back(name.substr(prefix.size()), value);
  run.layers.push_back(std::move(line));
}

}  // namespace

bool take_metrics(RunData& run, const std::string& text) {
  const Json json = parsed(text);
  if (const std::int64_t generation = integer_of(json, "generation"); generation >= 0) {
    if (json.contains("comparison")) {
      take_comparison(run, json, generation);
    } else if (integer_of(json, "island") >= 0) {
      take_island(run, json, generation);
    } else {
      return false;
    }
    return true;
  }
  if (const std::int64_t step = integer_of(json, "step"); step >= 0) {
    if (json.contains("perplexity")) {
      run.perplexities.push_back({step, numbers_in(member(json, "perplexity"))});
    } else {
      run.updates.push_back({step, integer_of(json, "tokens"), number_of(json, "loss"),
                             number_of(json, "learning_rate"), number_of(json, "tokens_per_second"),
                             number_of(json, "elapsed")});
    }
    return true;
  }
  if (integer_of(json, "layer") < 0) return false;
  take_layer(run, json);
  return true;
}

void forget_metrics(RunData& run) {
  run.islands.clear();
  run.comparisons.clear();
  run.updates.clear();
  run.perplexities.clear();
  run.layers.clear();
}

}  // namespace galapagos::report
