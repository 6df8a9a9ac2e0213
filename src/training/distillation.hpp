#pragma once

#include "distil_setup.hpp"
#include "layer_files.hpp"
#include "output_fit.hpp"

#include <optional>
#include <vector>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/model/residual_stream.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos {

/// What became of a layer in a step, and the errors that it has then.
struct LayerState {
  const char* name;
  LayerErrors errors;
};

/// Moves the hidden states of a pruned model and of the unpruned one through their layers, and trains each
/// layer of the pruned one on its way. The references must outlive this.
class Distillation {
 public:
  Distillation(const Communicator& comm, const ops::Context& context, const DistilSetup& setup,
               const LayerFiles& files, Collectives& replicas, const StopRule& stop, PhaseTimes& times)
      : comm_(comm),
        context_(context),
        options_(setup.options),
        setup_(setup),
        times_(times),
        stop_(stop),
        files_(files),
        distiller_(context, setup.model.config, setup.text, setup.longest, replicas, setup.model.precision,
                   setup.schedule, setup.options.adamw, setup.options.seed),
        of_model_(context, setup.model.config, setup.longest, 1),
        of_reference_(context, setup.reference.config, setup.longest, 1),
        inputs_(setup.text.batches, setup.model.config.hidden_size, "hidden states of the pruned model"),
        targets_(setup.text.batches, setup.model.config.hidden_size, "hidden states of the unpruned model"),
        replicas_(replicas) {
    embed(setup.model, inputs_);
    embed(setup.reference, targets_);
  }

  /// Collective. `done`: layers whose files are there.
  void run(std::int64_t done);

 private:
  void embed(const DistilSource& source, ResidualStream& stream);
  void advance(ForwardBuffers& forward, const LayerWeights& weights, std::int64_t layer,
               ResidualStream& stream);
  LayerWeights layer_of(const DistilSource& source, std::int64_t layer) const;
  /// A batch's hidden states.
  Tensor rows_of(const ForwardBuffers& buffers, std::size_t batch) const {
    return buffers.hidden[0]->slice(0, std::ssize(setup_.text.batches[batch].tokens));
  }
  ErrorMetric metric_of(std::int64_t layer) const;
  OutputFit attention_sums(std::int64_t layer, const LayerWeights& weights, const LayerWeights& reference);
  OutputFit ffn_sums(std::int64_t layer, const LayerWeights& weights);
  void refit(std::int64_t layer, const LayerWeights& weights, std::optional<OutputFit> attention,
             const ErrorMetric& metric);
  void distil(std::int64_t layer, ModelWeights& weights, const LayerWeights& reference);
  void take(std::int64_t layer, const Tensor& values, const ModelWeights& weights, StoredLayer& stored) const;
  void record(std::int64_t layer, const std::vector<LayerState>& states, const LayerState& kept) const;
  OwnedTensor values_of(const ModelWeights& weights) const;
  [[noreturn]] void leave_off(std::int64_t done);

  const Communicator& comm_;
  const ops::Context& context_;
  const DistilOptions& options_;
  const DistilSetup& setup_;
  PhaseTimes& times_;
  const StopRule& stop_;
  const LayerFiles& files_;
  LayerDistiller distiller_;
  ForwardBuffers of_model_, of_reference_;
  ResidualStream inputs_, targets_;
  Collectives& replicas_;
};

}  // namespace galapagos
