#include "lenient.hpp"
#include "line_tail.hpp"
#include "search_files.hpp"

#include <cmath>
#include <string_view>
#include <unordered_map>

namespace galapagos::report {
namespace {

constexpr std::size_t most_points = 1600;

/// Every k-th of a series of unknown length, so that no more than `most_points` stay; k doubles as it grows.
class Thinned {
 public:
  explicit Thinned(std::vector<CandidatePoint>& points) : points_(points) {}
  void add(const CandidatePoint& point) {
    if (seen_++ % every_ != 0) return;
    points_.push_back(point);
    if (points_.size() < most_points) return;
    for (std::size_t i = 0; 2 * i < points_.size(); ++i) points_[i] = points_[2 * i];
    points_.resize((points_.size() + 1) / 2);
    every_ *= 2;
  }

 private:
  std::vector<CandidatePoint>& points_;
  std::size_t seen_ = 0, every_ = 1;
};

/// candidates.jsonl: of the last stage the best, the first of equals, becomes the parent.
void read_stages(RunData& run) {
  std::map<Place, std::int64_t> stages;
  Thinned points(run.candidates);
  each_line(run.folder / "candidates.jsonl", [&](const std::string& text) {
    const Json json = parsed(text);
    const Place place{integer_of(json, "generation"), integer_of(json, "island")};
    const std::int64_t stage = integer_of(json, "stage");
    if (place.generation < 0 || place.island < 0 || stage < 0) {
      ++run.unreadable_lines;
      return;
    }
    ++run.candidate_lines;
    const double fitness = number_of(json, "fitness");
    if (stage == 1 && std::isfinite(fitness))
      points.add({place.generation, fitness, number_of(json, "predicted"), number_of(json, "surrogate")});
    ParentLine& parent = run.parents[place];
    std::int64_t& last = stages[place];
    const bool better = fitness < parent.fitness || std::isnan(parent.fitness);
    if (stage > last || (stage == last && better && std::isfinite(fitness))) {
      last = stage;
      parent = {fitness, text_of(json, "origin"), levels_of(member(json, "levels"))};
    }
  });
}

std::string key_of(const Levels& levels) {
  return std::string(
      std::string_view(reinterpret_cast<const char*>(levels.data()), levels.size() * sizeof levels[0]));
}

/// archive.jsonl: where what became an incumbent came from when its island first measured it.
void read_trials(RunData& run) {
  std::unordered_map<std::string, std::string> wanted;
  for (const auto& [place, line] : run.islands) {
    if (line.levels.empty()) continue;
    run.parents[place] = {line.best, "", line.levels};
    wanted.emplace(key_of(line.levels), "");
  }
  each_line(run.folder / "archive.jsonl", [&](const std::string& text) {
    const Json json = parsed(text);
    if (integer_of(json, "trial") < 0) {
      if (member(json, "archive") == nullptr) ++run.unreadable_lines;
      return;
    }
    ++run.candidate_lines;
    const auto found = wanted.find(key_of(levels_of(member(json, "levels"))));
    if (found != wanted.end() && found->second.empty()) found->second = text_of(json, "origin");
  });
  const Levels* before = nullptr;
  std::map<std::int64_t, const Levels*> last;
  for (auto& [place, parent] : run.parents) {
    before = std::exchange(last[place.island], &parent.levels);
    const bool same = before != nullptr && *before == parent.levels;
    parent.origin = same ? "parent" : wanted[key_of(parent.levels)];
  }
}

}  // namespace

void read_candidates(RunData& run) {
  run.parents.clear();
  run.candidates.clear();
  run.candidate_lines = 0;
  read_stages(run);
  if (run.parents.empty()) read_trials(run);
}

}  // namespace galapagos::report
