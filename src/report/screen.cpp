#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/utf8.hpp>
#include <galapagos/report/scale.hpp>
#include <galapagos/report/screen.hpp>

namespace galapagos::report {
namespace {

/// A piece of a line, in one look.
struct Piece {
  std::string text;
  const char* look = "";  ///< ANSI's numbers
};
using Line = std::vector<Piece>;

constexpr const char* bold = "1";
constexpr const char* dim = "2";

const char* look_of(Standing standing) {
  switch (standing) {
    case Standing::running:
      return "1;32";
    case Standing::silent:
    case Standing::stopped:
      return "1;33";
    case Standing::killed:
      return "1;31";
    case Standing::done:
      break;
  }
  return "1;34";
}

/// Cut after so many columns; each character counts as one.
std::string rendered(const Line& line, const ScreenStyle& style) {
  std::string text;
  std::size_t column = 0;
  for (const Piece& piece : line) {
    std::string part;
    for (std::size_t at = 0; at < piece.text.size() && column < style.width; ++column) {
      const std::size_t length = std::max<std::size_t>(utf8_length(piece.text, at), 1);
      part += piece.text.substr(at, length);
      at += length;
    }
    const bool coloured = style.colour && *piece.look != 0 && !part.empty();
    text += coloured ? fmt::format("\x1b[{}m{}\x1b[0m", piece.look, part) : part;
  }
  if (!style.colour) text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string count(double number) {
  return std::isnan(number) || number < 0 ? "?" : human_count(static_cast<std::uint64_t>(number));
}

std::string fitness(double value) {
  return std::isnan(value) ? "?" : fmt::format("{:.5g}", value);
}

std::string bar(double share, std::size_t width, bool utf8) {
  const auto full =
      static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(width)));
  std::string text;
  for (std::size_t i = 0; i < width; ++i) text += i < full ? (utf8 ? "━" : "=") : (utf8 ? "─" : "-");
  return text;
}

class Screen {
 public:
  explicit Screen(const ScreenStyle& style) : style_(style) {}

  void add(const RunData& run) {
    if (!lines_.empty()) lines_.emplace_back();
    run_ = &run;
    headline();
    living();
    if (!run.islands.empty()) search();
    if (!run.updates.empty()) training();
    if (!run.layers.empty()) distillation();
    steps();
    times();
    cost();
  }

  std::vector<std::string> lines() const {
    std::vector<std::string> text;
    for (const Line& line : lines_) text.push_back(rendered(line, style_));
    if (style_.height > 0 && text.size() > style_.height) {
      const std::size_t left_out = text.size() - style_.height + 1;
      text.resize(style_.height - 1);
      text.push_back(rendered({{fmt::format("... {} more lines", left_out), dim}}, style_));
    }
    return text;
  }

 private:
  void field(const char* name, Line rest) {
    rest.insert(rest.begin(), {fmt::format("  {:<11}", name), dim});
    lines_.push_back(std::move(rest));
  }

  void headline() {
    const Headway way = headway_of(*run_);
    const Standing standing = standing_of(*run_);
    Line line = {{printable(run_->name), bold}, {"  " + printable(run_->command)}, {"  "}};
    line.push_back({name_of(standing), look_of(standing)});
    if (!std::isnan(way.done)) {
      const bool known = way.of > 0;
      line.push_back(
          {fmt::format("  {}{} {}", count(way.done), known ? " of " + count(way.of) : "", way.unit)});
      if (known) {
        const double share = standing == Standing::done ? 1 : way.done / way.of;
        line.push_back({"  " + bar(share, 20, style_.utf8), "36"});
        line.push_back({fmt::format(" {:.0f} %", 100 * std::min(share, 1.0))});
      }
      if (standing == Standing::running && std::isfinite(way.seconds_left))
        line.push_back({"  ETA " + human_duration(way.seconds_left)});
    }
    lines_.push_back(std::move(line));
  }

  void living() {
    const Life& life = run_->life;
    const std::string written =
        std::isnan(life.since_written) ? "" : "last line " + human_duration(life.since_written) + " ago";
    if (!life.locked) {
      if (!written.empty()) field("", {{"no process has it; " + written}});
      return;
    }
    const char* ended = life.holder == LockHolder::has_ended ? ", which has ended" : "";
    field("", {{fmt::format("{}{}; sign of life {} ago{}{}", life.held_by, ended,
                            human_duration(life.since_beat), written.empty() ? "" : "; ", written)}});
  }

  void search() {
    double evaluations = 0, tokens = 0;
    std::map<std::int64_t, const IslandLine*> last;
    for (const auto& [place, line] : run_->islands) last[place.island] = &line;
    for (const auto& [island, line] : last) {
      evaluations += static_cast<double>(std::max<std::int64_t>(line->evaluations, 0));
      tokens += static_cast<double>(std::max<std::int64_t>(line->tokens, 0));
    }
    const double seconds = run_->seconds();
    Line done = {{fmt::format("{} candidates, {} tokens in {}", count(evaluations), short_number(tokens),
                              human_duration(seconds))}};
    if (seconds > 0) done.push_back({fmt::format(", {} a second", short_number(evaluations / seconds))});
    field("evaluated", std::move(done));
    if (!run_->comparisons.empty()) {
      const auto& [generation, best] = *run_->comparisons.rbegin();
      field("best",
            {{fitness(best.fitness), bold},
             {fmt::format(" on common tokens: island {}, generation {}", best.best_island, generation)}});
    }
    islands();
    migrations();
  }

  void islands() {
    const std::vector<std::int64_t> numbers = run_->island_numbers();
    field("island", {{fmt::format("{:>11} {:>11}   unchanged", "best", "mean"), dim}});
    const std::size_t most = style_.height > 0 ? std::max<std::size_t>(style_.height / 2, 4) : numbers.size();
    for (std::size_t i = 0; i < std::min(most, numbers.size()); ++i) {
      std::vector<double> best;
      const IslandLine* last = nullptr;
      std::int64_t unchanged = 0;
      for (const auto& [place, line] : run_->islands) {
        if (place.island != numbers[i]) continue;
        best.push_back(line.best);
        last = &line;
        unchanged = line.improved ? 0 : unchanged + 1;
      }
      const std::string still = unchanged == 0 ? "" : fmt::format("{} gen.", unchanged);
      const std::size_t room = style_.width > 52 ? std::min<std::size_t>(style_.width - 50, 60) : 0;
      field(std::to_string(numbers[i]).c_str(),
            {{fmt::format("{:>11} {:>11}   {:<10}", fitness(last->best), fitness(last->mean), still),
              unchanged >= 10 ? "33" : ""},
             {sparkline(best, room, style_.utf8), "36"}});
    }
    if (numbers.size() > most) field("", {{fmt::format("and {} more", numbers.size() - most), dim}});
  }

  void migrations() {
    if (run_->migrations.empty()) return;
    const std::int64_t last = run_->migrations.back().generation;
    std::string text = fmt::format("{} in all; generation {}:", run_->migrations.size(), last);
    for (const MigrationLine& one : run_->migrations)
      if (one.generation == last) text += fmt::format(" {}>{}", one.from, one.to);
    field("migrations", {{text}});
  }

  void training() {
    const UpdateLine& last = run_->updates.back();
    std::vector<double> losses;
    for (const UpdateLine& update : run_->updates) losses.push_back(update.loss);
    const std::size_t room = style_.width > 40 ? std::min<std::size_t>(style_.width - 32, 60) : 0;
    field("loss",
          {{fmt::format("{:<11}", fitness(last.loss)), bold}, {sparkline(losses, room, style_.utf8), "36"}});
    field("update", {{fmt::format("{}, learning rate {}, {} tokens a second, {}", last.step,
                                  short_number(last.learning_rate), short_number(last.tokens_per_second),
                                  human_duration(last.elapsed))}});
    if (run_->perplexities.empty()) return;
    const PerplexityLine& of = run_->perplexities.back();
    for (const auto& [name, value] : of.perplexity)
      field("perplexity", {{fmt::format("{:.4f}", value), bold},
                           {fmt::format(" after update {} on {}", of.step, printable(name))}});
  }

  void distillation() {
    const LayerLine& last = run_->layers.back();
    std::vector<double> errors;
    for (const LayerLine& layer : run_->layers) errors.push_back(layer.chosen);
    field("layers", {{fmt::format("{} done, the last one's error {} ({})  ", run_->layers.size(),
                                  fitness(last.chosen), printable(last.kept))},
                     {sparkline(errors, 40, style_.utf8), "36"}});
  }

  void steps() {
    std::string done, next;
    for (const StepLine& step : run_->steps) {
      if (step.done)
        done += (done.empty() ? "" : " ") + step.name;
      else if (next.empty())
        next = step.name;
    }
    if (!next.empty()) field("now", {{next, bold}});
    if (!run_->steps.empty()) {
      const auto count = std::ranges::count_if(run_->steps, [](const StepLine& step) { return step.done; });
      field("done",
            {{fmt::format("{} steps{}", count, done.empty() ? "" : ", the last: " + last_word(done))}});
    }
    for (const ModelLine& model : run_->models)
      field(model.name.c_str(),
            {{fmt::format("{} parameters, KL {}, perplexity {}", count(static_cast<double>(model.parameters)),
                          fitness(model.kl), fitness(model.perplexity))}});
  }

  static std::string last_word(const std::string& text) {
    const std::size_t blank = text.rfind(' ');
    return blank == std::string::npos ? text : text.substr(blank + 1);
  }

  /// Of the whole run where it has ended, else of the last generation.
  void times() {
    NamedNumbers parts;
    for (const PhaseLine& phase : run_->phases)
      if (phase.share >= 0.005) parts.emplace_back(phase.name, phase.share);
    std::string note;
    if (parts.empty() && !run_->islands.empty()) {
      double sum = 0;
      std::map<std::string, double> seconds;
      const std::int64_t last = run_->last_generation();
      for (const auto& [place, line] : run_->islands) {
        if (place.generation + 10 <= last) continue;
        for (const auto& [name, value] : line.seconds) {
          seconds[name] += value;
          sum += value;
        }
      }
      for (const auto& [name, value] : seconds)
        if (sum > 0 && value >= 0.005 * sum) parts.emplace_back(name, value / sum);
      note = ", of late";
    }
    std::ranges::stable_sort(parts, [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string text;
    for (const auto& [name, share] : parts)
      text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", printable(name), 100 * share);
    if (!text.empty()) field("time", {{text + note}});
  }

  void cost() {
    if (run_->bill.empty()) return;
    double gpu_hours = 0, joules = 0;
    for (const BillLine& part : run_->bill) {
      if (part.gpu_hours > 0) gpu_hours += part.gpu_hours;
      joules += joules_of(part);
    }
    std::string text = fmt::format("{} node-hours in {} {}", short_number(run_->node_hours()),
                                   run_->bill.size(), run_->bill.size() == 1 ? "part" : "parts");
    if (gpu_hours > 0) text += fmt::format(", {} GPU-hours", short_number(gpu_hours));
    if (joules > 0) text += fmt::format(", {} kWh", short_number(joules / 3.6e6));
    field("cost", {{text}});
  }

  ScreenStyle style_;
  const RunData* run_ = nullptr;
  std::vector<Line> lines_;
};

}  // namespace

std::string sparkline(std::span<const double> values, std::size_t count, bool utf8) {
  constexpr std::array bars = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::array plain = {"_", ".", ":", "-", "=", "+", "*", "#"};
  if (values.size() > count) values = values.last(count);
  double low = INFINITY, high = -INFINITY;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  std::string text;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      text += "?";
      continue;
    }
    const double share = high > low ? (value - low) / (high - low) : 0;
    const auto step = static_cast<std::size_t>(std::min(7.0, std::floor(8 * share)));
    text += utf8 ? bars[step] : plain[step];
  }
  return text;
}

std::vector<std::string> screen(std::span<const RunData> runs, const ScreenStyle& style) {
  Screen all(style);
  for (const RunData& run : runs) all.add(run);
  return all.lines();
}

}  // namespace galapagos::report
