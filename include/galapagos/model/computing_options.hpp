#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <galapagos/core/resume.hpp>
#include <galapagos/io/text_options.hpp>
#include <galapagos/model/make_collectives.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

class Options;

/// What every command is asked for that computes with a model on text.
struct ComputingOptions {
  std::filesystem::path model;
  std::int64_t sequence_length = 0;  ///< 0: the model's longest, at most 8192
  bool add_bos = false;
  TextOptions text;
  std::string log_level = "info", backend = "auto";
  bool allow_gpu_sharing = false;
  CollectivesKind collectives = CollectivesKind::automatic;
  bool no_collectives_check = false;
  std::optional<DType> precision;  ///< of the working weights; the checkpoint's where not given
  std::int64_t batch_tokens = 4096;
  std::uint64_t memory_limit = 0;  ///< bytes a rank may use; 0: its share of what the node has free
  std::int64_t threads = 0;        ///< of a rank; 0: what the environment says, or its share of the node
};

/// Of a command whose work can be stopped and gone on with.
struct RunOptions : ComputingOptions {
  std::filesystem::path output;
  double max_seconds = 0;  ///< end in time to resume; 0: no limit
  Resume resume = Resume::automatic;
  bool fresh = false;  ///< begin anew, and remove what is there of an earlier run
  bool dry_run = false;
};

/// `in_identity`: as they are given.
void bind_sequences(Options& list, ComputingOptions& options, bool in_identity = false);
void bind_log_level(Options& list, std::string& level);
/// From the log level on.
void bind_computing(Options& list, ComputingOptions& options);
/// How it goes on: --resume and --fresh. `what`: with what.
void bind_resume(Options& list, RunOptions& options, const std::string& what);
/// That, and how it stops.
void bind_run(Options& list, RunOptions& options, const char* what,
              const char* dry_run = "print the plan and leave");

/// UsageError where --fresh and --resume contradict each other.
void check_resume(const RunOptions& options);

}  // namespace galapagos
