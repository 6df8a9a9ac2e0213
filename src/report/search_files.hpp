#pragma once

#include <galapagos/report/run_data.hpp>

// The files of a run, each read into its part of RunData.
namespace galapagos::report {

/// A line of metrics.jsonl, of whichever command. False where it is none.
bool take_metrics(RunData& run, const std::string& line);
/// What a file of lines begins with again where it was replaced.
void forget_metrics(RunData& run);

/// config.ini: the command and its options.
void read_options(RunData& run);
/// manifest.json, with the phases in it.
void read_manifest(RunData& run);
/// best.txt, start.txt, uniform.txt, levels.json, front.csv, migrations.csv, watched.csv, bill.jsonl.
void read_results(RunData& run);
/// prune.json or rounds.json, held-out.json of the stages, and which steps are done.
void read_steps(RunData& run);
/// candidates.jsonl or archive.jsonl: parents and candidates.
void read_candidates(RunData& run);

}  // namespace galapagos::report
