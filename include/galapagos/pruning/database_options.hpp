#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/pruning/compensation.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/levels.hpp>

namespace galapagos {

/// What `galapagos database` is asked for.
struct DatabaseOptions {
  std::filesystem::path model;
  std::vector<std::filesystem::path> calibration;
  std::filesystem::path output;
  std::int64_t calibration_tokens = 0;  ///< 0: all there are
  std::int64_t sequence_length = 0;     ///< 0: the model's longest, at most 8192
  bool add_bos = false;
  std::int64_t levels = 10;
  std::optional<std::string> attention_removed;  ///< removed columns, in place of `levels`
  std::optional<std::string> ffn_removed;
  AttentionUnit attention_unit = AttentionUnit::head;
  double relative_damping = 1e-2;
  /// An assignment of the database's own levels: modules are pruned one after the other, each by what reaches
  /// it through the modules before it, pruned so.
  std::optional<std::filesystem::path> path;
  std::optional<Compensation> compensation;          ///< of the weights on that path
  std::optional<std::filesystem::path> sensitivity;  ///< weighs the order and gives end losses
  int lanes = 0;                                     ///< 0: as few as keep every rank busy
  std::int64_t batch_tokens = 4096;
  std::uint64_t memory_limit = 0;  ///< bytes a rank may use; 0: its share of what the node has free
  std::optional<DType> precision;  ///< of the working weights; the checkpoint's where not given
  double max_seconds = 0;          ///< end in time to resume; 0: no limit
  bool resume = false;
  bool repair = false;  ///< on resume, do modules again whose checksums do not fit
  bool dry_run = false;
};

/// UsageError where a number is out of its range.
void check_options(const DatabaseOptions& options);

/// The header of the database asked for, but for fingerprints, calibration and time. `stored`: the type of
/// the checkpoint's weights.
DatabaseHeader make_header(const DatabaseOptions& options, const HfConfig& config, DType stored);

}  // namespace galapagos
