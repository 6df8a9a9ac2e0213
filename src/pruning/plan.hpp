#pragma once

#include "path_memory.hpp"

#include <filesystem>
#include <optional>
#include <vector>

#include <galapagos/core/resume.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/database_options.hpp>
#include <galapagos/pruning/hessian.hpp>
#include <galapagos/pruning/passes.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {

/// All that the ranks agree on before the work begins. Nothing is written while it is made.
struct Plan {
  Found found = Found::nothing;
  std::optional<Checkpoint> checkpoint;
  HfConfig config;
  DatabaseHeader header;
  DType precision = DType::f32;
  TokenSet calibration;
  std::vector<Batch> batches;
  std::size_t fitted_batches = 0;  ///< the first; on a path the others are held out to choose ridges on
  std::int64_t most_tokens = 1;
  Device device = Device::cpu;
  PipelineGrid grid;
  std::vector<ModuleId> missing;
  std::vector<std::vector<ModuleId>> passes;
  PathMemory path_memory;  ///< of the rank with most tokens; where there is a path

  PassExtent extent() const {
    return {precision, most_tokens, device, !header.sensitivity_fingerprint.empty()};
  }
};

/// Collective.
Plan make_plan(const Communicator& comm, const DatabaseOptions& options, Device device);

/// Collective. The modules of a database that are not done, or with `repair` do not fit their checksums,
/// dealt over the ranks to be verified; ChecksumError without.
std::vector<ModuleId> missing_modules(const Communicator& comm, const std::filesystem::path& path,
                                      bool repair);

/// The sensitivities asked for, where there are any, opened on this rank alone. InputError where they are not
/// of the plan's model or, unless its header names none yet, not those that it names.
std::optional<SensitivityReader> open_sensitivities(const DatabaseOptions& options, const Plan& plan);

/// Says what is going to be done.
void log_plan(const Communicator& comm, const DatabaseOptions& options, const Plan& plan);

}  // namespace galapagos
