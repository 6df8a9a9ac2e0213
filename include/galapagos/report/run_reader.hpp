#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <galapagos/report/run_data.hpp>

namespace galapagos::report {

struct FoundRun {
  std::filesystem::path folder;
  std::string name;  ///< "evolution"; of one in another "pruned/stage-1/distil"
};

/// The runs at `place`: itself where it is one, and those in it, two levels deep, in the order of their
/// names. Empty where there is none.
std::vector<FoundRun> runs_below(const std::filesystem::path& place);

/// Reads a run's folder, again and again while the run goes on; only reads, and never fails: what is missing,
/// half written or of another kind is left out.
class RunReader {
 public:
  explicit RunReader(const FoundRun& run);
  ~RunReader();
  RunReader(RunReader&&) noexcept;

  /// Reads what is new. `now`: seconds since 1970.
  const RunData& refresh(double now);

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

/// All of a run, with what candidates.jsonl and archive.jsonl say.
RunData read_run(const FoundRun& run, double now);

/// Whether a folder looks like that of a run.
bool is_run(const std::filesystem::path& folder);

/// Models beside each other: comparison.json, a list of {"name", "parameters", "perplexity", "kl"}; empty
/// where the file is none of these.
std::vector<ModelLine> read_models(const std::filesystem::path& file);

/// Seconds since 1970, now.
double clock_now();

}  // namespace galapagos::report
