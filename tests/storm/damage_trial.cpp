#include "strike.hpp"
#include "support/files.hpp"
#include "trial.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/file.hpp>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

/// What a run goes on from, and not what it only tells of itself.
std::vector<fs::path> states_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
    const bool record = name != "archive.jsonl" &&
                        (extension == ".jsonl" || extension == ".csv" || name == "config.ini" ||
                         extension == ".txt" || extension == ".py" || name.find("lock") != std::string::npos);
    if (entry.is_regular_file() && !record && entry.file_size() > 0) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// In words what was done to the file.
std::string damage(const fs::path& file, Draw& draw) {
  std::string bytes = read_file(file);
  const std::size_t at = draw.index(bytes.size());
  std::string said;
  switch (draw.below(4)) {
    case 0:
      bytes.resize(at);
      said = "cut at";
      break;
    case 1:
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at / 512 * 512),
                bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), at / 512 * 512 + 4096)),
                '\0');
      said = "zeros from";
      break;
    default:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << draw.below(8)));
      said = "a bit flipped at";
  }
  test::write_text(file, bytes);
  return fmt::format("{} {} {}", file.filename().string(), said, at);
}

}  // namespace

std::vector<Json> try_damage(const Trial& trial) {
  const DiskMemory disk(trial.disk(), trial.folder / "memory");
  Event event;
  event.fault = Fault::machine;
  event.share = trial.draw.between(0.3, 1);
  const Struck struck = strike(trial.phase, trial.disk(), disk, event, trial.reference.seconds);
  const std::vector<fs::path> states = states_in(trial.disk());
  Json line = {{"fault", "damage"}, {"befell", false}, {"moment", moment_of(event)}};
  if (!struck.befell || states.empty() || is_there(trial)) return {line};
  line["befell"] = true;
  line["moment"] = damage(trial.draw.pick(states), trial.draw);
  const test::Ended ended = run_whole(trial.phase, trial.disk(), disk);
  line["code"] = ended.code;
  std::string wrong;
  if (ended.code == 0) {
    wrong = difference(trial.reference.findings, findings_of(trial.disk()));
    if (!wrong.empty()) wrong = "not noticed: " + wrong;
    line["outcome"] = "redone";
  } else if (ended.code == 3) {
    line["outcome"] = "refused";
    wrong = wrong_with_error(ended, trial.disk().string());
    line["said"] = ended.errors.substr(ended.errors.find("galapagos: error"));
    if (wrong.empty()) wrong = wrong_with_left(trial);
    if (wrong.empty() && trial.phase.stops)
      wrong = wrong_with_end(trial, run_whole(trial.phase, trial.disk(), disk, {"--fresh"}));
  } else {
    wrong = fmt::format("code {} with a damaged file: {}", ended.code, ended.errors);
  }
  if (!wrong.empty()) line["wrong"] = wrong;
  return {line};
}

}  // namespace galapagos::storm
