#pragma once

#include <filesystem>
#include <functional>
#include <span>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/training/distil_options.hpp>

namespace galapagos {

/// Collective. Writes a copy of the parent's folder in which the tensors that any of the `changed`
/// checkpoints has are theirs.
using ChangedModelWriter =
    std::function<void(const Checkpoint& parent, const HfConfig& config, std::span<const Checkpoint> changed,
                       const std::filesystem::path& folder)>;

/// Collective. Trains each layer of a pruned model, one after the other, so that on what the trained layers
/// before it give it the residual stream behind it comes nearest to the unpruned model's: by AdamW, with the
/// error e^T M e of a token, M = G / mean diagonal of G with G that of the layer's last module in the
/// sensitivities, or 1; before that o_proj and down_proj are fitted to the unpruned stream behind each, as
/// `stitch --refit auto` does. (Local distillation as in Puzzle, Bercovich et al., arXiv 2411.19146, but on
/// the pruned path.) No rank holds more of a model than a layer of each. Text that no layer is trained on,
/// see hold_out(), tells whether a layer got better; else it stays as it was. (Ridges are chosen on it, but
/// the fit is then to all of the text.) Ranks share the text; the result depends on their number only by
/// rounding. Writes the run's folder: config.ini, metrics.jsonl, layers/ while it runs, manifest.json and at
/// the end model/. Goes on after the last layer with `resume`. StoppedEarly after a signal or at
/// `max_seconds`; NumericalError where something is not finite.
void run_distillation(const Communicator& world, const ops::Context& context, const DistilOptions& options,
                      const ChangedModelWriter& write_model);

}  // namespace galapagos
