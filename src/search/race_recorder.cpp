#include "recorder.hpp"

#include <fmt/format.h>

#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/search/race_lines.hpp>

namespace galapagos {
namespace {

std::string counted(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

/// As a field of a CSV file.
std::string quoted(const std::string& text) {
  std::string field = "\"";
  for (const char c : text) field += c == '"' ? "\"\"" : std::string(1, c);
  return field + "\"";
}

}  // namespace

void Recorder::standing(const Standing& standing, const Population& start) {
  if (!told_) told_ = folder_.told();
  const EvolutionOptions& evolution = setup_.options.evolution;
  if (!progress_) progress_.emplace("generations of islands", evolution.generations * evolution.islands);
  progress_->advance(1, fmt::format("island {}: best {:.5g}", standing.island, standing.loss));
  if (told_->contains({standing.island, standing.generation}))
    return;  // by the run that this one goes on with
  Json line = to_json(standing);
  line["tokens"] = standing.evaluations * evolution.racing.tokens;
  line["elapsed"] = elapsed();
  // First, as the line of the generation says that they are there.
  for (const Migration& migration : evolution.topology.after(standing.generation)) {
    if (migration.from == standing.island)
      folder_.append_migration(migration, standing.generation, standing.loss);
  }
  folder_.append_metrics({line});
  if (standing.island == 0) folder_.save({setup_.identity, start, elapsed()});  // the time spent so far
  if (take_checkpoint_request()) log_info("all that is measured is saved, as asked for by SIGUSR1");
}

void Recorder::watched(const Watched& watched) {
  folder_.append_watched(watched.island, watched.generation,
                         row_of(setup_.options.fitness.kind).finish(watched.loss),
                         std::ssize(setup_.blocks.held_back.tokens));
}

Population Recorder::ended(const std::vector<Standing>& last, const Population& start) {
  Population population = start;
  population.generation = setup_.options.evolution.generations;
  folder_.save({setup_.identity, population, elapsed()});
  for (const Standing& standing : last) {
    IslandState& island = population.islands[static_cast<std::size_t>(standing.island)];
    island.elites = {{standing.incumbent, standing.loss}};
    island.evaluations = standing.evaluations;
    island.tokens = standing.evaluations * setup_.options.evolution.racing.tokens;
  }
  return population;
}

void Recorder::end_races(const std::vector<Standing>& last, const Population& start, const FrontPoint& best,
                         Comparison compared) {
  Population population = ended(last, start);
  compared.fitness.resize(last.size());
  const auto is_best = [&](std::size_t island) {
    return population.islands[island].elites.front().assignment == best.assignment;
  };
  for (std::size_t i = 0; i < last.size() && !is_best(compared.best()); ++i) {
    if (is_best(i)) compared.chosen = i;
  }
  const std::size_t winner = compared.best();
  Candidate& elite = population.islands[winner].elites.front();
  if (elite.assignment != best.assignment) {
    if (setup_.choices.count() == 0)
      log_info("the start is better than the islands' best on what was held back: it is the best");
    elite.assignment = best.assignment;
    compared.fitness[winner] = best.fitness;
    compared.chosen = winner;  // whatever its fitness now is beside the others'
  }
  comparison(population, compared);
}

void Recorder::end_front(const std::vector<Standing>& last, const Population& start,
                         const std::vector<FrontPoint>& front, const std::vector<double>& extra) {
  const Population population = ended(last, start);
  begin_manifest(population);
  const std::size_t items = extra.size() / front.size();
  std::string table = "sparsity,parameters,fitness,file";
  for (const auto& file : setup_.options.eval_data) table += "," + quoted("perplexity on " + file.string());
  table += "\n";
  manifest_["front"] = Json::array();
  for (std::size_t k = 0; k < front.size(); ++k) {
    const FrontPoint& point = front[k];
    const std::int64_t parameters = setup_.space.parameters(point.assignment);
    const std::string file = fmt::format("best-{}.txt", point.sparsity);
    folder_.write_text(file, galapagos::to_text(setup_.space, point.assignment));
    Json line{
        {"sparsity", point.sparsity}, {"fitness", point.fitness}, {"parameters", parameters}, {"file", file}};
    table += fmt::format("{},{},{},{}", point.sparsity, parameters, point.fitness, file);
    std::string said;
    const Json perplexity = perplexities(std::span(extra).subspan(k * items, items));
    for (const auto& [name, value] : perplexity.items()) {
      line["perplexity"][name] = value;
      table += fmt::format(",{}", value.get<double>());
      said += fmt::format(", perplexity {:.4f} on {}", value.get<double>(), name);
    }
    table += "\n";
    log_info("sparsity {}: best fitness {:.6g} on {} tokens, {} parameters, {}{}", point.sparsity,
             point.fitness, counted(setup_.options.evolution.compare_tokens), counted(parameters), file,
             said);
    manifest_["front"].push_back(std::move(line));
  }
  folder_.write_text("front.csv", table);
  folder_.write_manifest(manifest_);
}

}  // namespace galapagos
