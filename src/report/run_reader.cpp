#include "line_tail.hpp"
#include "search_files.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include <galapagos/report/run_reader.hpp>

namespace galapagos::report {
namespace {

namespace fs = std::filesystem;

bool there(const fs::path& path) {
  std::error_code none;
  return fs::exists(path, none);
}

fs::path bare(const fs::path& folder) {
  return folder.has_filename() ? folder : folder.parent_path();  // "X/" is X
}

std::string name_of_run(const fs::path& folder) {
  std::error_code none;
  const fs::path whole = fs::weakly_canonical(folder, none);
  const fs::path last = bare(none ? folder : whole).filename();
  return last.empty() ? folder.string() : last.string();
}

/// By what a run of steps or a text of options leaves, where config.ini does not say.
std::string guess_command(const fs::path& folder) {
  if (there(folder / "prune.json") || there(folder / "stage-1")) return "prune";
  if (there(folder / "rounds.json") || there(folder / "round-0")) return "rounds";
  return "";
}

Life life_of(const fs::path& folder, double now) {
  Life life;
  for (const fs::path& path : {fs::path(bare(folder).string() + ".lock"), folder / "run.lock"}) {
    const std::string text = text_in(path);
    if (text.empty()) continue;
    const LockHolder holder = judge_holder(text);
    if (holder == LockHolder::is_none) continue;
    life.locked = true;
    life.holder = holder;
    life.held_by = describe_holder(text);
    life.since_beat = std::max(0.0, now - written_at(path));
    break;
  }
  double last = unknown;
  for (const char* name : {"metrics.jsonl", "prune.json", "rounds.json", "levels.json", "config.ini"}) {
    const double at = written_at(folder / name);
    if (!(at <= last) && !std::isnan(at)) last = at;
  }
  life.since_written = std::max(0.0, now - last);
  return life;
}

}  // namespace

struct RunReader::Inside {
  RunData run;
  LineTail metrics;

  explicit Inside(const FoundRun& found) : metrics(found.folder / "metrics.jsonl") {
    run.folder = found.folder;
    run.name = found.name;
  }
};

RunReader::RunReader(const FoundRun& run) : inside_(std::make_unique<Inside>(run)) {}
RunReader::~RunReader() = default;
RunReader::RunReader(RunReader&&) noexcept = default;

const RunData& RunReader::refresh(double now) {
  RunData& run = inside_->run;
  run.command.clear();
  read_options(run);
  read_manifest(run);
  if (run.command.empty()) run.command = guess_command(run.folder);
  inside_->metrics.read([&] { forget_metrics(run); },
                        [&](const std::string& line) {
                          if (!take_metrics(run, line)) ++run.unreadable_lines;
                        });
  read_results(run);
  read_steps(run);
  run.life = life_of(run.folder, now);
  return run;
}

RunData read_run(const FoundRun& found, double now) {
  RunReader reader(found);
  RunData run = reader.refresh(now);
  read_candidates(run);
  return run;
}

bool is_run(const fs::path& folder) {
  constexpr std::array files = {"metrics.jsonl", "prune.json", "rounds.json", "bill.jsonl"};
  if (std::ranges::any_of(files, [&](const char* file) { return there(folder / file); })) return true;
  if (!guess_command(folder).empty()) return true;
  return text_in(folder / "config.ini").starts_with("# galapagos ");
}

namespace {

void add_runs(const fs::path& folder, const std::string& name, int deeper, std::vector<FoundRun>& found) {
  if (is_run(folder)) found.push_back({folder, name});
  if (deeper == 0) return;
  std::vector<fs::path> inside;
  std::error_code none;
  for (fs::directory_iterator entry(folder, none), end; !none && entry != end; entry.increment(none))
    if (entry->is_directory(none) && entry->path().filename() != "model") inside.push_back(entry->path());
  std::ranges::sort(inside);
  for (const fs::path& one : inside) {
    const std::string own = one.filename().string();
    add_runs(one, name.empty() ? own : name + "/" + own, deeper - 1, found);
  }
}

}  // namespace

std::vector<FoundRun> runs_below(const fs::path& place) {
  std::vector<FoundRun> found;
  add_runs(place, is_run(place) ? name_of_run(place) : "", 2, found);
  return found;
}

double clock_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace galapagos::report
