#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <galapagos/model/computing_options.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {

/// What `galapagos sensitivity` is asked for.
struct SensitivityOptions : RunOptions {
  std::vector<std::filesystem::path> calibration;
  std::int64_t calibration_tokens = 16384;  ///< 0: all there are
  bool fewer_tokens = false;                ///< a text with fewer will do
  std::int64_t samples = 1;                 ///< ids drawn per token, each with a way back of its own
  std::uint64_t seed = 0;
  SensitivityForm form = SensitivityForm::full;
  std::int64_t rank = 0;    ///< of the sketch, with form lowrank
  bool divergence = false;  ///< also the first order of the divergence from the unpruned model
  /// What the caller has put in (SensitivityModel), and with `divergence` the unpruned model.
  std::optional<std::filesystem::path> database, assignment, reference;
  int lanes = 0;   ///< 0: as many as can hold the model
  int shards = 1;  ///< ranks that hold one copy of the model, each a part of every layer
  MakeCollectives make_collectives = make_mpi_collectives;
  std::int64_t checkpoint_tokens = 1 << 18;  ///< between one saving and the next
};

void bind(Options& list, SensitivityOptions& options);

/// UsageError where a number is out of its range.
void check_options(const SensitivityOptions& options);

}  // namespace galapagos
