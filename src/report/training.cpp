#include "sections.hpp"

#include <cmath>
#include <filesystem>
#include <fmt/format.h>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/scale.hpp>

namespace galapagos::report {
namespace {

std::string perplexities(const RunData& run) {
  std::map<std::string, ChartSeries> by_text;
  std::map<std::int64_t, double> tokens;
  for (const UpdateLine& update : run.updates) tokens[update.step] = static_cast<double>(update.tokens);
  double low = INFINITY, high = 0;
  for (const PerplexityLine& line : run.perplexities) {
    for (const auto& [name, value] : line.perplexity) {
      ChartSeries& series = by_text[name];
      series.name = std::filesystem::path(name).filename().string();
      series.marks = true;
      const auto at = tokens.find(line.step);
      const double x = line.step == 0 ? 0 : at == tokens.end() ? unknown : at->second;
      series.points.push_back({x, value, fmt::format("after update {}: {:.4f}", line.step, value)});
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  Chart chart{
      "Perplexity on text that it does not see", {"tokens"}, {"perplexity", low > 0 && high > 6 * low}, {}};
  chart.x.from_zero = true;
  for (auto& [name, series] : by_text) {
    series.colour = chart.series.size();
    chart.series.push_back(std::move(series));
  }
  return draw(chart);
}

std::string over_tokens(const RunData& run, std::string title, std::string y, std::size_t colour,
                        double UpdateLine::*member) {
  ChartSeries series{"", colour, {}};
  for (const UpdateLine& update : run.updates)
    series.points.push_back({static_cast<double>(update.tokens), update.*member,
                             fmt::format("update {}: {}", update.step, short_number(update.*member, 5))});
  Chart chart{std::move(title), {"tokens"}, {std::move(y)}, {std::move(series)}};
  chart.x.from_zero = true;
  return draw(chart);
}

}  // namespace

std::string training_section(const RunData& run) {
  if (run.updates.empty() && run.perplexities.empty()) return "";
  return heading("Training") +
         side_by_side(over_tokens(run, "Loss of each update", "loss", 0, &UpdateLine::loss) +
                      perplexities(run) +
                      over_tokens(run, "Learning rate", "learning rate", 2, &UpdateLine::learning_rate) +
                      over_tokens(run, "Pace", "tokens a second", 3, &UpdateLine::tokens_per_second));
}

std::string distillation_section(const RunData& run) {
  if (run.layers.empty()) return "";
  ChartSeries before{"before", 1, {}}, after{"kept", 0, {}};
  before.marks = after.marks = true;
  std::vector<Row> rows = {{"layer", "before", "kept", "which"}};
  for (const LayerLine& line : run.layers) {
    const auto layer = static_cast<double>(line.layer);
    const double first = line.held_out.empty() ? unknown : line.held_out.front().second;
    before.points.push_back({layer, first, ""});
    after.points.push_back({layer, line.chosen, "layer " + std::to_string(line.layer) + ": " + line.kept});
    rows.push_back({std::to_string(line.layer), decimal(first), decimal(line.chosen), line.kept});
  }
  return heading(
             "Layers",
             "How far each layer's output is from the unpruned model's, on text that it was not fitted to.") +
         side_by_side(draw(Chart{"Error by layer", {"layer"}, {"error"}, {before, after}})) + table(rows);
}

std::string steps_section(const RunData& run) {
  std::string text;
  if (!run.models.empty()) text += models_section(run.models);
  if (run.steps.empty()) return text;
  std::vector<Row> rows = {{"step", "state"}};
  bool waiting = false;
  for (const StepLine& step : run.steps) {
    rows.push_back({step.name, step.done ? "done" : waiting ? "to come" : "now"});
    waiting = waiting || !step.done;
  }
  return text + heading("Steps") + table(rows, false);
}

}  // namespace galapagos::report
