#include "reference.hpp"

#include "strike.hpp"

#include <chrono>
#include <stdexcept>
#include <unistd.h>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

Reference read(const fs::path& file) {
  const Json json = read_json(file);
  Reference reference;
  for (const auto& [name, what] : json.at("findings").items())
    reference.findings[name] = what.get<std::string>();
  reference.seconds = json.at("seconds").get<double>();
  reference.syncs = json.at("syncs").get<long>();
  return reference;
}

void write(const fs::path& file, const Reference& reference) {
  Json json = {{"seconds", reference.seconds}, {"syncs", reference.syncs}};
  for (const auto& [name, what] : reference.findings) json["findings"][name] = what;
  const fs::path unfinished = file.string() + "." + std::to_string(::getpid());
  write_file_atomically(unfinished, json.dump(1));
  fs::rename(unfinished, file);
}

}  // namespace

Reference reference_of(const Phase& phase, const fs::path& folder) {
  const fs::path file = folder / (phase.name + ".json");
  if (fs::exists(file)) return read(file);
  const fs::path work = folder / (phase.name + "." + std::to_string(::getpid()));
  fs::remove_all(work);
  const DiskMemory disk(work / "disk", work / "memory");
  const auto begin = std::chrono::steady_clock::now();
  const test::Ended ended = run_whole(phase, work / "disk", disk);
  if (ended.code != 0) throw std::runtime_error(phase.name + " does not run: " + ended.errors);
  Reference reference;
  reference.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  reference.syncs = disk.syncs();
  reference.findings = findings_of(work / "disk");
  write(file, reference);
  fs::remove_all(work);
  return reference;
}

}  // namespace galapagos::storm
