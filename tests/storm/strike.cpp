#include "strike.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <thread>
#include <unistd.h>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/run_lock.hpp>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// A launcher has told the others of a rank's end by then, on however busy a machine.
constexpr double longest_end = 60, longest_run = 900;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

bool is_gone(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string line;
  return !std::getline(file, line) || line.find(") Z") != std::string::npos ||
         line.find(") X") != std::string::npos;
}

/// Lets an event happen to a command of this process's while it runs.
class Striker {
 public:
  Striker(const Phase& phase, const fs::path& output, const DiskMemory& disk, const Event& event,
          double whole)
      : phase_(phase),
        output_(output),
        disk_(disk),
        event_(event),
        after_(event.share * whole),
        begin_(Clock::now()) {}

  /// Called again and again; whether all has to be killed now.
  bool operator()() {
    if (paused_ && since(*befell_) >= event_.pause) {
      ::kill(*paused_, SIGCONT);
      paused_.reset();
    }
    if (befell_) return since(*befell_) > longest_end + event_.pause;
    if (since(begin_) > longest_run) return overdue = true;
    return due() && happen();
  }

  bool befell() const { return befell_.has_value(); }
  double seconds() const { return befell_ ? since(*befell_) : 0; }
  const std::vector<pid_t>& ranks() const { return ranks_; }
  bool overdue = false;

 private:
  bool due() const { return event_.sync != 0 ? disk_.waiting() > 0 : since(begin_) >= after_; }

  /// Whether it has begun: MPI's start is behind it, and it listens to signals.
  bool has_begun() const {
    if (event_.sync != 0) return true;
    const fs::path lock = lock_path(output_);
    if (!fs::exists(lock)) return false;
    const Json json = Json::parse(read_file(lock), nullptr, false);
    return json.is_object() &&
           std::find(ranks_.begin(), ranks_.end(), json.value("process", pid_t{0})) != ranks_.end();
  }

  bool happen() {
    ranks_ = test::ranks_under(::getpid());
    if (event_.fault == Fault::machine) {
      befell_ = Clock::now();
      return true;
    }
    // Of a rank that ends while MPI starts, Open MPI's launcher does not always hear.
    if (ranks_.size() != static_cast<std::size_t>(phase_.ranks) || !has_begun()) return false;
    const pid_t one = event_.sync != 0 && event_.at_sync_itself ? disk_.waiting() : ranks_[event_.rank];
    befell_ = Clock::now();
    if (event_.fault == Fault::rank) ::kill(one, SIGKILL);
    if (event_.fault == Fault::stop)
      ::kill(event_.to_launcher ? test::children_of(::getpid()).front() : one, event_.signal);
    if (event_.fault == Fault::stall) {
      ::kill(one, SIGSTOP);
      paused_ = one;
    }
    return false;
  }

  const Phase& phase_;
  fs::path output_;
  const DiskMemory& disk_;
  const Event& event_;
  double after_;
  Clock::time_point begin_;
  std::optional<Clock::time_point> befell_;
  std::optional<pid_t> paused_;
  std::vector<pid_t> ranks_;
};

std::string wrong_with_end(const Event& event, const Struck& struck, const std::vector<pid_t>& ranks) {
  const test::Ended& ended = struck.ended;
  const auto begin = Clock::now();
  for (const pid_t rank : ranks) {
    while (!is_gone(rank) && since(begin) < 10) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (!is_gone(rank)) return "a rank lives on";
  }
  if (event.fault == Fault::machine) return "";
  if (struck.seconds > longest_end + event.pause) return "it did not end";
  if (event.fault == Fault::rank && ended.code != 0 && ended.code != 128 + SIGKILL &&
      ended.errors.find("signal 9") == std::string::npos)
    return fmt::format("code {} and no word of the rank's end", ended.code);
  if (event.fault == Fault::stop && ended.code == 75) {
    if (test::count_lines(ended.errors, "galapagos: stopped") != 1) return "no line says that it was stopped";
    if (test::count_lines(ended.errors, "galapagos: error") != 0) return "an error of a run that was stopped";
    return "";
  }
  if (event.fault == Fault::stop && ended.code != 0)
    return fmt::format("code {} of a run that was stopped", ended.code);
  if (event.fault == Fault::stall && ended.code != 0)
    return fmt::format("code {} of a run that stood still", ended.code);
  return "";
}

}  // namespace

Struck strike(const Phase& phase, const fs::path& folder, const DiskMemory& disk, const Event& event,
              double whole) {
  Striker striker(phase, folder / phase.output, disk, event, whole);
  disk.watch(event.sync);
  Struck struck;
  struck.ended =
      test::run_galapagos(phase.ranks, phase.command(folder), 2 * longest_run, [&] { return striker(); });
  disk.unwatch();
  struck.befell = striker.befell();
  struck.seconds = striker.seconds();
  if (striker.overdue)
    struck.wrong = "it ran for minutes, and nothing had befallen it";
  else if (struck.befell)
    struck.wrong = wrong_with_end(event, struck, striker.ranks());
  else if (struck.ended.code != 0)
    struck.wrong = fmt::format("code {} and nothing had befallen it", struck.ended.code);
  return struck;
}

test::Ended run_whole(const Phase& phase, const fs::path& folder, const DiskMemory& disk, const Words& more) {
  disk.watch(0);
  Words words = phase.command(folder);
  words.insert(words.end(), more.begin(), more.end());
  test::Ended ended = test::run_galapagos(phase.ranks, words, longest_run);
  disk.unwatch();
  return ended;
}

std::string wrong_with_error(const test::Ended& ended, const std::string& names) {
  const int lines = test::count_lines(ended.errors, "galapagos: error: ");
  if (lines != 1) return fmt::format("{} error lines", lines);
  return ended.errors.find(names) == std::string::npos ? "the error does not name " + names : "";
}

}  // namespace galapagos::storm
