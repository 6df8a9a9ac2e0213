#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <tuple>

#include <galapagos/core/error.hpp>
#include <galapagos/search/race_lines.hpp>

namespace galapagos {
namespace {

bool of_space(const Assignment& assignment, const SearchSpace& space) {
  if (assignment.size() != space.modules.size()) return false;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    if (assignment[i] < 0 || assignment[i] > space.modules[i].last()) return false;
  }
  return true;
}

/// Runs `read` on a parsed line; nothing where something in it is missing or of another type.
template <typename Read>
auto read_line(const std::string& line, const Read& read) -> decltype(read(Json())) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    return read(json);
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

std::string to_line(const MeasuredTrial& measured) {
  Json line;
  line["generation"] = measured.generation;
  line["island"] = measured.island;
  line["trial"] = measured.index;
  line["block"] = measured.block;
  line["origin"] = name_of(measured.trial.origin);
  line["expected"] = measured.trial.expected;
  line["levels"] = measured.trial.assignment;
  line["sums"] = measured.sums;
  return line.dump();
}

Json to_json(const Standing& standing) {
  Json line;
  line["generation"] = standing.generation;
  line["island"] = standing.island;
  line["evaluations"] = standing.evaluations;
  line["trials"] = standing.trials;
  line["best"] = standing.loss;
  line["blocks"] = standing.blocks;
  line["mean"] = standing.mean;
  line["improved"] = standing.improved;
  line["challengers"] = standing.challengers;
  for (const auto& [way, share] : standing.shares) line["shares"][name_of(way)] = share;
  line["levels"] = standing.incumbent;
  return line;
}

std::string to_line(const Standing& standing) {
  return to_json(standing).dump();
}

std::optional<MeasuredTrial> trial_of(const std::string& line, const SearchSpace& space) {
  return read_line(line, [&](const Json& json) -> std::optional<MeasuredTrial> {
    MeasuredTrial measured;
    measured.generation = json.at("generation").get<std::int64_t>();
    measured.island = json.at("island").get<std::int64_t>();
    measured.index = json.at("trial").get<std::int64_t>();
    measured.block = json.at("block").get<std::int64_t>();
    const auto origin = origin_named(json.at("origin").get<std::string>());
    if (!origin) return std::nullopt;
    measured.trial.origin = *origin;
    const Json& expected = json.at("expected");
    measured.trial.expected =
        expected.is_null() ? std::numeric_limits<double>::quiet_NaN() : expected.get<double>();
    measured.trial.assignment = json.at("levels").get<Assignment>();
    if (!of_space(measured.trial.assignment, space)) return std::nullopt;
    for (const Json& sum : json.at("sums"))
      measured.sums.push_back(sum.is_null() ? std::numeric_limits<double>::quiet_NaN() : sum.get<double>());
    return measured;
  });
}

std::optional<Standing> standing_of(const std::string& line, const SearchSpace& space) {
  return read_line(line, [&](const Json& json) -> std::optional<Standing> {
    const auto number = [&](const char* name) {
      const Json& value = json.at(name);
      return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
    };
    Standing standing;
    standing.generation = json.at("generation").get<std::int64_t>();
    standing.island = json.at("island").get<std::int64_t>();
    standing.evaluations = json.at("evaluations").get<std::int64_t>();
    standing.trials = json.at("trials").get<std::int64_t>();
    standing.loss = number("best");
    standing.blocks = json.at("blocks").get<std::int64_t>();
    standing.mean = number("mean");
    standing.improved = json.at("improved").get<bool>();
    standing.challengers = json.at("challengers").get<std::int64_t>();
    if (json.contains("shares")) {
      for (const auto& [name, share] : json["shares"].items()) {
        const auto way = origin_named(name);
        if (!way) return std::nullopt;
        standing.shares[*way] = share.get<double>();
      }
    }
    standing.incumbent = json.at("levels").get<Assignment>();
    if (!of_space(standing.incumbent, space)) return std::nullopt;
    return standing;
  });
}

namespace {

/// Whether a line is an archive's first, see run_archive.hpp.
bool is_header(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  return json.is_object() && json.contains("archive");
}

/// All trials of a text. InputError where a line is none, or none that is `wanted`.
template <typename Wanted>
std::vector<MeasuredTrial> read_trials(const std::string& text, const SearchSpace& space,
                                       const std::vector<TokenDraw>& blocks, const Wanted& wanted,
                                       const std::string& problem, const std::string& where,
                                       const std::string& remedy) {
  std::vector<MeasuredTrial> trials;
  std::size_t at = 0;
  for (std::int64_t number = 1;; ++number) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string::npos) return trials;
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (number == 1 && is_header(line)) continue;
    auto trial = trial_of(line, space);
    const bool sound = trial && trial->island >= 0 && trial->generation >= 0 && trial->index >= 0 &&
                       trial->block >= 0 && trial->block < std::ssize(blocks) &&
                       trial->sums.size() == segments_of(blocks[static_cast<std::size_t>(trial->block)]) &&
                       wanted(*trial);
    if (!sound) throw InputError(fmt::format("line {} of the archive is {}", number, problem), where, remedy);
    trials.push_back(std::move(*trial));
  }
}

}  // namespace

std::vector<MeasuredTrial> trials_of(const std::string& text, const SearchSpace& space,
                                     const EvolutionOptions& options, const std::vector<TokenDraw>& blocks,
                                     const std::string& where) {
  std::vector<MeasuredTrial> trials = read_trials(
      text, space, blocks, [&](const MeasuredTrial& trial) { return trial.island < options.islands; },
      "none of this search", where, "begin the search anew with --fresh");
  std::erase_if(trials, [](const MeasuredTrial& trial) { return trial.generation == 0; });
  return trials;
}

std::vector<MeasuredTrial> known_trials(const std::string& text, const SearchSpace& space,
                                        const std::vector<TokenDraw>& blocks, const std::string& where) {
  std::vector<MeasuredTrial> trials = read_trials(
      text, space, blocks, [](const MeasuredTrial&) { return true; }, "damaged", where,
      "give the archive as a race has left it, or leave --archive out");
  const auto what = [](const MeasuredTrial& one) { return std::tie(one.block, one.trial.assignment); };
  std::sort(trials.begin(), trials.end(), [&](const MeasuredTrial& a, const MeasuredTrial& b) {
    return std::tuple_cat(what(a), std::tie(a.generation, a.island, a.index)) <
           std::tuple_cat(what(b), std::tie(b.generation, b.island, b.index));
  });
  const auto same = [&](const MeasuredTrial& a, const MeasuredTrial& b) { return what(a) == what(b); };
  trials.erase(std::unique(trials.begin(), trials.end(), same), trials.end());
  return trials;
}

}  // namespace galapagos
