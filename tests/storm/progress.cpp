#include "progress.hpp"

#include <algorithm>
#include <limits>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t all_done = std::numeric_limits<std::int64_t>::max();

/// The greatest number that a checkpoint of the run says, or the one before it.
std::int64_t of_checkpoints(const fs::path& run, const char* attribute) {
  std::int64_t most = -1;
  for (const char* name : {"checkpoint.h5", "checkpoint.previous.h5"}) {
    if (!fs::exists(run / name)) continue;
    most = std::max(most, Hdf5File::open(run / name).read_integer("/", attribute));
  }
  return most;
}

}  // namespace

std::int64_t batches_of(const fs::path& sensitivities) {
  if (fs::exists(sensitivities)) return all_done;
  if (!fs::exists(part_path(sensitivities))) return -1;
  const SensitivityReader reader(part_path(sensitivities), true);
  for (const ModuleId& module : reader.header().modules()) reader.values(module);
  return reader.batches_done();
}

std::int64_t modules_of_run(const fs::path& database) {
  if (fs::exists(database)) return all_done;
  if (!fs::exists(part_path(database))) return -1;
  const DatabaseReader reader(part_path(database));
  std::int64_t done = 0;
  for (const ModuleId& module : reader.header().modules()) {
    if (!reader.done(module)) continue;
    reader.verify(module);
    ++done;
  }
  return done;
}

std::int64_t generations_of(const fs::path& run) {
  return of_checkpoints(run, "generation");
}

std::int64_t trials_of(const fs::path& race) {
  const fs::path archive = race / "archive.jsonl";
  if (!fs::exists(archive)) return -1;
  std::istringstream lines(read_file(archive));
  std::int64_t trials = 0;
  for (std::string line; std::getline(lines, line);)
    trials += Json::parse(line, nullptr, false).contains("sums") ? 1 : 0;
  return trials;
}

std::int64_t updates_of(const fs::path& training) {
  if (fs::exists(training / "manifest.json")) return all_done;
  return of_checkpoints(training, "steps");
}

std::int64_t layers_of(const fs::path& distillation) {
  if (fs::exists(distillation / "manifest.json")) return all_done;
  std::int64_t layers = -1;
  while (fs::exists(distillation / "layers" / ("000" + std::to_string(layers + 1)) / "model.safetensors"))
    ++layers;
  return layers;
}

}  // namespace galapagos::storm
