#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include <galapagos/assignment/space.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/export/export_format.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/refit.hpp>

namespace galapagos {

struct StitchOptions {
  std::filesystem::path output;
  const ExportFormat* format = &export_format_of("hf");
  std::uint64_t shard_bytes =
      5ull << 30;  ///< a longer checkpoint is cut into files of at most this (or one tensor)
  std::optional<RefitOptions> refit;  ///< of what levels keep of o_proj and down_proj
};

/// Collective. Writes the model of a checkpoint with an assignment's levels put in, in a format's folder,
/// with its tokenizer, and pruning.json, which lists what was kept of every layer in the numbering of the
/// unpruned model. The ranks write a part of the files each; the folder gets its name once all of it is
/// there. A refit is computed on `context` before anything is written, and pruning.json says how. InputError
/// where it exists already, ResourceError where the disk is too small; those of refit_levels().
void stitch(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
            const DatabaseReader& database, const SearchSpace& space, const Assignment& assignment,
            const StitchOptions& options, const ops::Context& context = ops::Context());

}  // namespace galapagos
