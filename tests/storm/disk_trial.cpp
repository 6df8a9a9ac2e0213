#include "strike.hpp"
#include "support/small_disk.hpp"
#include "trial.hpp"

#include <cmath>
#include <fmt/format.h>
#include <sys/mount.h>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

/// The least have no room for a run's first files.
constexpr double least_kib = 16, few_kib = 64, most_kib = 16 << 10;

void grow(const fs::path& folder) {
  if (::mount("tmpfs", folder.c_str(), "tmpfs", MS_REMOUNT, "size=256m") != 0)
    throw std::runtime_error("cannot make a small file system larger");
}

}  // namespace

std::vector<Json> try_full_disk(const Trial& trial) {
  const double most = trial.draw.chance(0.5) ? few_kib : most_kib;
  const auto kib = static_cast<long>(std::exp(trial.draw.between(std::log(least_kib), std::log(most))));
  const test::SmallDisk disk(trial.disk(), fmt::format("size={}k", kib).c_str());
  if (!disk.mounted()) return {{{"fault", "disk"}, {"befell", false}, {"outcome", "skipped"}}};
  Json line = {{"fault", "disk"}, {"moment", fmt::format("{} KiB", kib)}};
  std::string wrong;
  for (std::uint64_t times = 1 + trial.draw.below(2); times > 0 && wrong.empty() && !is_there(trial);
       --times) {
    const test::Ended ended = test::run_galapagos(trial.phase.ranks, trial.phase.command(trial.disk()), 120);
    line["code"] = ended.code;
    if (ended.code == 0) break;
    line["befell"] = true;
    line["said"] = ended.errors;
    if (ended.code != 4) wrong = fmt::format("code {} on a full disk", ended.code);
    if (wrong.empty()) wrong = wrong_with_error(ended, "free");
    if (wrong.empty()) wrong = wrong_with_left(trial);
  }
  if (wrong.empty()) {
    grow(trial.disk());
    if (!is_there(trial) || trial.phase.stops) {
      const test::Ended ended =
          test::run_galapagos(trial.phase.ranks, trial.phase.command(trial.disk()), 120);
      wrong = wrong_with_end(trial, ended);
    }
  }
  if (!wrong.empty()) line["wrong"] = wrong;
  return {line};
}

}  // namespace galapagos::storm
