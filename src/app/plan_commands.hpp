#pragma once

#include "plan_machine.hpp"

#include <optional>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/model/evaluate.hpp>
#include <galapagos/model/generation_options.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/sensitivity.hpp>
#include <galapagos/search/search.hpp>
#include <galapagos/training/distil.hpp>
#include <galapagos/training/train.hpp>

// The parts of `plan`: what each command needs on a machine, from sizes alone.
namespace galapagos::app {

/// `sequence_length`: of the text.
PlannedPhase plan_sensitivity(const Machine& machine, const ModelSizes& model,
                              const SensitivityOptions& options, std::int64_t sequence_length);
PlannedPhase plan_database(const Machine& machine, const DatabaseOptions& options,
                           const DatabaseHeader& header);
/// `stored`: the type of the database's levels.
PlannedPhase plan_search(const Machine& machine, const ModelSizes& model, const SearchOptions& options,
                         const SearchSpace& space, DType stored);

/// What `stitch` writes: an assignment of a database, or without one the model as it is.
struct ToStitch {
  std::string what;  ///< in words
  const DatabaseHeader* header = nullptr;
  const SearchSpace* space = nullptr;
  Assignment assignment = {};
};
PlannedPhase plan_stitch(const Machine& machine, const ModelSizes& model, const StitchOptions& options,
                         const ToStitch& stitched);

/// `sequence_length`, `tokens`: of the data. `shards`: ranks of a replica.
PlannedPhase plan_eval(const Machine& machine, const ModelSizes& model,
                       const std::optional<ModelSizes>& reference, const EvaluationOptions& options,
                       std::int64_t sequence_length, std::int64_t tokens, int shards);

/// `prompt_tokens`: of the longest prompt; `texts`: how many.
PlannedPhase plan_generate(const Machine& machine, const ModelSizes& model, const GenerationOptions& options,
                           std::int64_t prompt_tokens, std::int64_t texts, std::uint64_t asked_limit,
                           int shards);

/// The text is taken to be as long as what is trained on.
PlannedPhase plan_train(const Machine& machine, const ModelSizes& model,
                        const std::optional<ModelSizes>& reference, const TrainOptions& options,
                        std::int64_t sequence_length, int shards);

/// Of `model` toward `reference`, on `tokens` of text.
PlannedPhase plan_distil(const Machine& machine, const ModelSizes& model, const ModelSizes& reference,
                         const DistilOptions& options, std::int64_t sequence_length, std::int64_t tokens);

/// Collective. `galapagos plan collectives`.
void plan_collectives(const Communicator& world, const std::vector<std::string>& words);

}  // namespace galapagos::app
