#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/model/computing_options.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/compensation.hpp>
#include <galapagos/pruning/database.hpp>

// The refit of one assignment: on its own pruned path, module after module, what a level keeps of o_proj or
// down_proj is fitted to the unpruned model's residual stream (weight_fit.hpp), drawn by the ridge towards
// the weight of that level.
namespace galapagos {

/// What `--refit` and the options of its text are given.
struct RefitOptions : ComputingOptions {
  std::vector<std::filesystem::path> calibration;
  std::int64_t calibration_tokens = 0;  ///< 0: all there are
  Compensation ridge;
  /// What sums of Hessians go through between GPUs; host memory and MPI without.
  MakeCollectives make_collectives = {};
};

/// Binds all but the ridge.
void bind(Options& list, RefitOptions& options);

/// UsageError where a number is out of its range, or there is no text.
void check_options(const RefitOptions& options);

/// What a refit has found, and on what.
struct RefittedLevels {
  /// Of the modules that this rank owns, [kept, hidden] words of the database's type.
  std::map<ModuleId, std::vector<std::byte>> words;
  /// Of all modules in the order of the header, on every rank: what was taken in the end, infinite where the
  /// weight stays, 0 where nothing is kept.
  std::vector<double> ridges;
  std::string calibration_fingerprint;
  std::int64_t calibration_tokens = 0;
  std::int64_t calibration_sequences = 0;
  std::int64_t sequence_length = 0;
  DType precision = DType::f32;
};

/// Collective. `levels`: of the modules of the database, in the order of its header; one that is not stored
/// is the checkpoint's weight. `owners`: the rank that keeps each module's weight. All ranks share the text.
/// Nothing is written. InputError, ResourceError and NumericalError as build_database(); StoppedEarly after
/// SIGUSR2 or SIGTERM.
RefittedLevels refit_levels(const Communicator& world, const ops::Context& context,
                            const RefitOptions& options, const Checkpoint& checkpoint, const HfConfig& config,
                            const DatabaseReader& database, std::span<const std::int16_t> levels,
                            std::span<const int> owners);

}  // namespace galapagos
