#pragma once

#include "support/files.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

// Small runs of `galapagos train`.
namespace galapagos::test {

/// Values of options; "" stands for an option without value, "-" for one that is left out.
using TrainChange = std::map<std::string, std::string>;

/// A folder with text to measure perplexity on, eval.jsonl, made once.
const TemporaryFolder& train_inputs();

/// The words of a training of a dozen updates. `change` replaces the values of options, or adds some.
std::vector<std::string> train_words(const std::filesystem::path& output, const TrainChange& change = {});

/// Trains; fails the test where that does not end well.
Ended train(int ranks, const std::filesystem::path& output, const TrainChange& change = {});

/// The lines of metrics.jsonl without times.
std::string train_metrics(const std::filesystem::path& run);
/// A checksum of the model's file.
std::string model_bytes(const std::filesystem::path& run);
/// What a training has found out: both of these.
std::string train_findings(const std::filesystem::path& run);
/// Lines of metrics.jsonl, parsed: those of updates, or those of evaluations.
std::vector<Json> train_updates(const std::filesystem::path& run);
std::vector<Json> train_evaluations(const std::filesystem::path& run);

/// Updates of the last checkpoint; -1 where there is none that can be read.
std::int64_t saved_updates(const std::filesystem::path& run);

/// A small model with layers of unequal width, one without attention and one without its feed-forward part;
/// made once from llama3_tiny.
std::filesystem::path pruned_model();

/// What `galapagos eval --json` says of a model on eval.jsonl.
Json evaluated(const std::filesystem::path& model, const std::vector<std::string>& more = {});

}  // namespace galapagos::test
