#include "trial.hpp"

#include "support/process.hpp"

#include <fmt/format.h>

#include <galapagos/core/run_lock.hpp>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

/// Of a run's folder the model, of all else the output itself.
std::string published(const Phase& phase) {
  return phase.output == "run" ? "run/model" : phase.output;
}

}  // namespace

bool is_there(const Trial& trial) {
  return fs::exists(trial.disk() / published(trial.phase));
}

std::string wrong_with_left(const Trial& trial) {
  if (!is_there(trial)) return "";
  const std::string name = published(trial.phase);
  const auto of_it = [&](Findings findings) {
    std::erase_if(findings,
                  [&](const auto& one) { return one.first != name && !one.first.starts_with(name + "/"); });
    return findings;
  };
  const std::string wrong = difference(of_it(trial.reference.findings), of_it(findings_of(trial.disk())));
  return wrong.empty() ? "" : "under its final name: " + wrong;
}

std::string wrong_with_end(const Trial& trial, const test::Ended& ended) {
  if (ended.code != 0)
    return fmt::format("code {} of the command that goes on: {}", ended.code, ended.errors);
  if (fs::exists(lock_path(trial.output()))) return "the lock is left";
  return difference(trial.reference.findings, findings_of(trial.disk()));
}

}  // namespace galapagos::storm
