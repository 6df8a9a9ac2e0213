#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/model/layer_pass.hpp>
#include <galapagos/model/residual_stream.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>
#include <galapagos/training/optimiser.hpp>
#include <galapagos/training/schedule.hpp>

namespace galapagos {

/// A rank's text in the order in which layers are trained on it.
struct DistilText {
  std::vector<Batch> batches;
  std::vector<std::size_t> updates;                 ///< the first batch of every update, and the end
  std::vector<std::int64_t> update_tokens;          ///< of all ranks
  std::int64_t fitted_tokens = 0, held_tokens = 0;  ///< of all ranks; what is held out comes last
};

/// M = R^T R of a sensitivity, with R^T; M = 1 where it has no root.
struct ErrorMetric {
  Sensitivity sensitivity;
  OwnedTensor transposed;
};

/// The mean over tokens of e^T M e / hidden size, e a layer's output less its target.
struct LayerErrors {
  double fitted = 0, held_out = 0;
};

/// What layers are run and trained with: for a batch its hidden states before a layer, those that go through
/// it, what they differ by from the layer's target, and that weighed.
struct DistilBuffers {
  LayerPass pass;
  LayerForward forward;
  OwnedTensor before, states, error, weighed;

  /// The references must outlive this.
  DistilBuffers(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens);
};

/// Trains single layers. The references must outlive this; calls are collective over `replicas`.
class LayerDistiller {
 public:
  LayerDistiller(const ops::Context& context, const HfConfig& config, const DistilText& text,
                 std::int64_t most_tokens, Collectives& replicas, DType precision, const Schedule& schedule,
                 const AdamWOptions& adamw, std::uint64_t seed);

  /// Bytes of a rank beside weights and streams, for the layers of this model: of this and of a metric, and
  /// of what train() takes meanwhile.
  static std::uint64_t bytes(const HfConfig& config, std::int64_t most_tokens, DType activations);
  static std::uint64_t training_bytes(const HfConfig& config, std::int64_t most_tokens, int ranks,
                                      DType activations);

  LayerErrors errors(const LayerWeights& weights, const ResidualStream& inputs, const ResidualStream& targets,
                     const ErrorMetric& metric);
  /// Changes the only layer of `weights`, layer `layer` of the model; returns its values in fp32, in the
  /// order of parameters_of(). Nothing where `stop` held on some rank. NumericalError, naming the layer,
  /// where a gradient is not finite.
  std::optional<OwnedTensor> train(const ModelWeights& weights, std::int64_t layer,
                                   const ResidualStream& inputs, const ResidualStream& targets,
                                   const ErrorMetric& metric, const std::function<bool()>& stop);

 private:
  Tensor states_of(const OwnedTensor& buffer, std::size_t batch) const;
  double weigh(const Tensor& error, const ErrorMetric& metric, float scale);
  double errors_of(const LayerWeights& weights, std::size_t first, std::size_t last,
                   const ResidualStream& inputs, const ResidualStream& targets, const ErrorMetric& metric);
  void add_gradient(const ModelWeights& weights, std::size_t batch, float scale, const LayerTape& tape,
                    const ResidualStream& inputs, const ResidualStream& targets, const ErrorMetric& metric,
                    const Gradients& gradients);

  const ops::Context& context_;
  const HfConfig& config_;
  const DistilText& text_;
  std::int64_t most_tokens_;
  Collectives& replicas_;
  DType precision_;
  Schedule schedule_;
  AdamWOptions adamw_;
  std::uint64_t seed_;
  ops::Context exact_;  // whose products keep fp32
  DistilBuffers buffers_;
};

}  // namespace galapagos
