#include "trials.hpp"

#include "trial.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <functional>
#include <set>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

struct Kind {
  const char* name;
  double share;
  std::vector<Json> (*run)(const Trial& trial);
};

constexpr Kind kinds[] = {{"kills", 0.8, try_kills},
                          {"damage", 0.1, try_damage},
                          {"disk", 0.05, try_full_disk},
                          {"memory", 0.05, try_memory}};

bool is_asked_for(const std::vector<std::string>& asked, const std::string& name) {
  return asked.empty() || std::any_of(asked.begin(), asked.end(),
                                      [&](const std::string& one) { return name.starts_with(one); });
}

std::vector<Phase> phases_of(const Options& options) {
  std::vector<Phase> phases = all_phases(options.folder / "inputs");
  std::erase_if(phases, [&](const Phase& phase) { return !is_asked_for(options.phases, phase.name); });
  if (phases.empty()) throw std::invalid_argument("no such phase");
  return phases;
}

const Kind& draw_kind(const std::vector<std::string>& asked, Draw& draw) {
  double all = 0;
  for (const Kind& kind : kinds) all += is_asked_for(asked, kind.name) ? kind.share : 0;
  double left = draw.real() * all;
  const Kind* drawn = nullptr;
  for (const Kind& kind : kinds) {
    if (!is_asked_for(asked, kind.name)) continue;
    drawn = &kind;
    if ((left -= kind.share) < 0) break;
  }
  if (drawn == nullptr) throw std::invalid_argument("no such kind of trial");
  return *drawn;
}

const Phase& draw_phase(const std::vector<Phase>& phases, Draw& draw) {
  std::uint64_t all = 0;
  for (const Phase& phase : phases) all += static_cast<std::uint64_t>(phase.weight);
  std::uint64_t left = draw.below(all);
  for (const Phase& phase : phases) {
    if (left < static_cast<std::uint64_t>(phase.weight)) return phase;
    left -= static_cast<std::uint64_t>(phase.weight);
  }
  return phases.back();
}

std::string joined(const char* option, const std::vector<std::string>& words) {
  std::string text = words.empty() ? "" : std::string(" ") + option;
  for (const std::string& word : words) text += " " + word;
  return text;
}

/// Trial `number` of a seed: what it tries, and the lines of the ledger.
std::vector<Json> run_trial(const Options& options, const std::vector<Phase>& phases, std::uint64_t number) {
  Draw draw(options.seed, number);
  const Phase& phase = draw_phase(phases, draw);
  const Kind& kind = draw_kind(options.kinds, draw);
  fs::create_directories(options.folder / "references");
  std::vector<Json> events;
  const fs::path folder = options.folder / "trials" / fmt::format("{}-{}", options.seed, number);
  bool failed = false;
  try {
    const Reference reference = reference_of(phase, options.folder / "references");
    fs::remove_all(folder);
    fs::create_directories(folder);
    events = kind.run({phase, reference, folder, draw});
  } catch (const std::exception& error) {
    events.push_back({{"fault", kind.name}, {"wrong", std::string("the storm itself: ") + error.what()}});
  }
  std::int64_t event = 0;
  for (Json& line : events) {
    failed = failed || line.contains("wrong");
    Json whole = {{"seed", options.seed},    {"run", number},        {"event", event++},
                  {"phase", phase.name},     {"ranks", phase.ranks}, {"shards", phase.shards},
                  {"islands", phase.islands}};
    whole.update(line);
    if (!whole.contains("wrong")) whole["outcome"] = "survived";
    whole["again"] = fmt::format("--seed {} --run {}{}{} --folder DIR", options.seed, number,
                                 joined("--phase", options.phases), joined("--kind", options.kinds));
    line = std::move(whole);
  }
  if (!failed) fs::remove_all(folder);  // else it may be looked at
  return events;
}

class Worker {
 public:
  Worker(const Options& options, const Ledger& ledger)
      : options_(options),
        ledger_(ledger),
        phases_(phases_of(options)),
        begin_(std::chrono::steady_clock::now()) {
    for (const Json& event : ledger.read()) {
      if (event.value("seed", std::uint64_t{0}) == options.seed)
        done_.insert(event.value("run", std::uint64_t{0}));
    }
  }

  /// Trials first, first + step, ...
  void run(std::uint64_t first, std::uint64_t step) const {
    for (std::uint64_t number = first; !is_enough(); number += step) {
      if (done_.contains(number)) continue;
      ledger_.add(run_trial(options_, phases_, number));
    }
  }

  void run_alone(std::uint64_t number) const { ledger_.add(run_trial(options_, phases_, number)); }

 private:
  bool is_enough() const {
    const double minutes =
        std::chrono::duration<double, std::ratio<60>>(std::chrono::steady_clock::now() - begin_).count();
    if (options_.minutes > 0 && minutes >= options_.minutes) return true;
    return options_.kills > 0 && count_befallen(ledger_.read()) >= options_.kills;
  }

  const Options& options_;
  const Ledger& ledger_;
  std::vector<Phase> phases_;
  std::set<std::uint64_t> done_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace

void run_trials(const Options& options, const Ledger& ledger) {
  make_inputs(options.folder / "inputs");
  const Worker worker(options, ledger);
  if (options.run) return worker.run_alone(*options.run);
  std::vector<pid_t> processes;  // each has the ranks that it has started below it
  for (int job = 0; job < options.jobs; ++job) {
    const pid_t process = ::fork();
    if (process < 0) throw std::runtime_error("cannot fork");
    if (process == 0) {
      int code = 0;
      try {
        worker.run(static_cast<std::uint64_t>(job), static_cast<std::uint64_t>(options.jobs));
      } catch (const std::exception& error) {
        fmt::print(stderr, "storm: {}\n", error.what());
        code = 1;
      }
      ::_exit(code);
    }
    processes.push_back(process);
  }
  bool well = true;
  for (const pid_t process : processes) {
    int status = 0;
    ::waitpid(process, &status, 0);
    well = well && status == 0;
  }
  if (!well) throw std::runtime_error("not all trials could be made");
}

}  // namespace galapagos::storm
