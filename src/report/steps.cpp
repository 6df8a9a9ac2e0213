#include "lenient.hpp"
#include "line_tail.hpp"
#include "search_files.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/report/run_reader.hpp>

namespace galapagos::report {
namespace {

namespace fs = std::filesystem;

bool there(const fs::path& path) {
  std::error_code none;
  return fs::exists(path, none);
}

ModelLine model_of(const Json& json, std::string name) {
  return {std::move(name), integer_of(json, "parameters"), number_of(json, "kl"),
          number_of(json, "perplexity")};
}

void add_models(RunData& run, const Json& list, const char* what) {
  run.models.clear();
  if (!list.is_array()) return;
  for (const Json& one : list) {
    std::string name = text_of(one, "name");
    if (name.empty()) name = fmt::format("{} {}", what, run.models.size() + 1);
    run.models.push_back(model_of(one, std::move(name)));
  }
}

const Json& member_or_null(const Json& json, const char* key) {
  static const Json nothing;
  const Json* found = member(json, key);
  return found == nullptr ? nothing : *found;
}

/// The steps of one stage, each with what it leaves; all are done once `end` is there.
void add_stage(RunData& run, const std::string& stage,
               std::initializer_list<std::pair<const char*, const char*>> steps, const fs::path& end) {
  const bool over = there(end);
  for (const auto& [name, file] : steps)
    run.steps.push_back({fmt::format("{}/{}", stage, name), over || there(run.folder / stage / file)});
}

constexpr int most_stages = 64;

void add_stages_of_pruning(RunData& run) {
  for (int number = 1; number <= most_stages; ++number) {
    const std::string stage = fmt::format("stage-{}", number);
    if (!there(run.folder / stage)) return;
    const bool later = there(run.folder / fmt::format("stage-{}", number + 1));
    const fs::path own = run.folder / stage / "model";
    add_stage(run, stage,
              {{"sensitivity", "sensitivity.h5"},
               {"database", "database.h5"},
               {"assignment", "assignment.txt"},
               {"stitch", "pruned"},
               {"distil", "distil/manifest.json"}},
              later || there(own) ? own : run.folder / "model");
  }
}

void add_rounds(RunData& run) {
  for (int number = 0; number <= most_stages; ++number) {
    const std::string round = fmt::format("round-{}", number);
    if (!there(run.folder / round)) return;
    add_stage(
        run, round,
        {{"sensitivity", "sensitivity.h5"}, {"database", "database.h5"}, {"assignment", "assignment.txt"}},
        run.folder / round / (round + ".json"));
    if (there(run.folder / round / "search"))
      run.steps.push_back({round + "/search", there(run.folder / round / "searched")});
  }
}

}  // namespace

void read_steps(RunData& run) {
  run.steps.clear();
  if (run.command == "prune") {
    add_models(run, member_or_null(parsed(text_in(run.folder / "prune.json")), "stages"), "stage");
    add_stages_of_pruning(run);
  }
  if (run.command == "rounds") {
    add_models(run, member_or_null(parsed(text_in(run.folder / "rounds.json")), "measured"), "round");
    add_rounds(run);
  }
}

std::vector<ModelLine> read_models(const fs::path& file) {
  RunData list;
  add_models(list, parsed(text_in(file)), "model");
  std::erase_if(list.models, [](const ModelLine& one) { return one.parameters < 0; });
  return list.models;
}

}  // namespace galapagos::report
