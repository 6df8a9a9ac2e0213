#include "strike.hpp"
#include "trial.hpp"

#include <fmt/format.h>

namespace galapagos::storm {
namespace {

/// Address space: the libraries take some 300 MiB of it before the program begins.
constexpr std::uint64_t least_mib = 250, most_mib = 900;

test::Ended run_within(const Phase& phase, const std::filesystem::path& folder, std::uint64_t mib) {
  Words words = {GALAPAGOS_MPIEXEC,
                 "--oversubscribe",
                 GALAPAGOS_MPIEXEC_NUMPROC_FLAG,
                 std::to_string(phase.ranks),
                 "sh",
                 "-c",
                 fmt::format("ulimit -v {}; exec \"$0\" \"$@\"", mib << 10),
                 test::program()};
  const Words command = phase.command(folder);
  words.insert(words.end(), command.begin(), command.end());
  return test::run_program(words, 120);
}

}  // namespace

std::vector<Json> try_memory(const Trial& trial) {
  const std::uint64_t mib = least_mib + trial.draw.below(most_mib - least_mib);
  const DiskMemory disk(trial.disk(), trial.folder / "memory");
  const test::Ended ended = run_within(trial.phase, trial.disk(), mib);
  Json line = {{"fault", "memory"},
               {"moment", fmt::format("{} MiB", mib)},
               {"code", ended.code},
               {"befell", ended.code != 0}};
  std::string wrong;
  if (ended.code != 0) {
    line["said"] = ended.errors;
    if (ended.code == 137) wrong = "it did not end";
    if (wrong.empty()) wrong = wrong_with_left(trial);
  }
  if (wrong.empty() && ended.code != 0 && !is_there(trial))
    wrong = wrong_with_end(trial, run_whole(trial.phase, trial.disk(), disk));
  if (!wrong.empty()) line["wrong"] = wrong;
  return {line};
}

}  // namespace galapagos::storm
