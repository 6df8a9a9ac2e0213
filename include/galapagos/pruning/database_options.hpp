#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/model/computing_options.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/pruning/compensation.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/levels.hpp>

namespace galapagos {

/// What `galapagos database` is asked for.
struct DatabaseOptions : RunOptions {
  std::vector<std::filesystem::path> calibration;
  std::int64_t calibration_tokens = 0;  ///< 0: all there are
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
  bool repair = false;  ///< on resume, do modules again whose checksums do not fit
  /// What sums of Hessians go through between GPUs; host memory and MPI without.
  MakeCollectives make_collectives = {};
};

void bind(Options& list, DatabaseOptions& options);

/// UsageError where a number is out of its range.
void check_options(const DatabaseOptions& options);

/// The header of the database asked for, but for fingerprints, calibration and time. `stored`: the type of
/// the checkpoint's weights.
DatabaseHeader make_header(const DatabaseOptions& options, const HfConfig& config, DType stored);

}  // namespace galapagos
