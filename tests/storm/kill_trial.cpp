#include "strike.hpp"
#include "trial.hpp"

#include <exception>
#include <fmt/format.h>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

class Kills {
 public:
  explicit Kills(const Trial& trial) : trial_(trial), disk_(trial.disk(), trial.folder / "memory") {}

  std::vector<Json> run() {
    const std::uint64_t most = 1 + trial_.draw.below(6);
    bool ended = false;
    for (std::uint64_t kill = 0; kill < most && !ended && !failed_ && !is_final(); ++kill) ended = one();
    if (!ended && !failed_) finish();
    if (!failed_ && trial_.draw.chance(0.5)) crash_behind_the_end();
    return std::move(events_);
  }

 private:
  /// One event; whether the run has come to its end.
  bool one() {
    const Event event =
        draw_event(trial_.draw, trial_.phase.ranks, trial_.reference.syncs, trial_.phase.stops);
    const Struck struck = strike(trial_.phase, trial_.disk(), disk_, event, trial_.reference.seconds);
    Json line = {{"fault", name_of(event.fault)},
                 {"moment", moment_of(event)},
                 {"rank", event.rank},
                 {"befell", struck.befell},
                 {"code", struck.ended.code},
                 {"seconds", struck.befell ? struck.seconds : 0.0}};
    std::string wrong = struck.wrong;
    if (event.fault == Fault::machine && struck.befell) {
      disk_.crash(event.loss, trial_.draw);
      line["loss"] = name_of(event.loss);
    }
    const bool ended = struck.ended.code == 0;
    if (wrong.empty()) wrong = ended ? wrong_with_end(trial_, struck.ended) : wrong_with_left(trial_);
    if (wrong.empty() && !ended) wrong = wrong_with_progress(event, line);
    if (!wrong.empty()) line["said"] = struck.ended.errors;
    add(std::move(line), wrong);
    return ended;
  }

  /// What was done stays done; of what was not synced a crash of the machine may take away.
  std::string wrong_with_progress(const Event& event, Json& line) {
    if (!trial_.phase.progress) return "";
    try {
      const std::int64_t done = trial_.phase.progress(trial_.output());
      line["done"] = done;
      const std::int64_t least = event.fault == Fault::machine ? synced_ : done_;
      if (done < least) return fmt::format("{} were done, and are {} now", least, done);
      done_ = done;
      if (event.fault == Fault::machine || event.fault == Fault::stop) synced_ = done;
      return "";
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  void finish() {
    if (is_final()) return add({{"fault", "none"}}, missing_at_end());
    const test::Ended ended = run_whole(trial_.phase, trial_.disk(), disk_);
    const std::string wrong = wrong_with_end(trial_, ended);
    Json line = {{"fault", "none"}, {"code", ended.code}};
    if (!wrong.empty()) line["said"] = ended.errors;
    add(std::move(line), wrong);
  }

  /// What has ended well stays whatever befalls the machine.
  void crash_behind_the_end() {
    Loss loss = draw_loss(trial_.draw);
    disk_.crash(loss, trial_.draw);
    add({{"fault", "machine"}, {"moment", "behind its end"}, {"befell", true}, {"loss", name_of(loss)}},
        missing_at_end());
  }

  /// Whether all is done by a command that would not go on, but be refused.
  bool is_final() const {
    return (!trial_.phase.stops || trial_.phase.output.ends_with(".jsonl")) && is_there(trial_);
  }

  /// What was removed may be there again.
  std::string missing_at_end() const {
    return missing(trial_.reference.findings, findings_of(trial_.disk()));
  }

  void add(Json line, const std::string& wrong) {
    if (!wrong.empty()) {
      line["wrong"] = wrong;
      failed_ = true;
    }
    events_.push_back(std::move(line));
  }

  const Trial& trial_;
  DiskMemory disk_;
  std::vector<Json> events_;
  std::int64_t done_ = -1, synced_ = -1;
  bool failed_ = false;
};

}  // namespace

std::vector<Json> try_kills(const Trial& trial) {
  return Kills(trial).run();
}

}  // namespace galapagos::storm
