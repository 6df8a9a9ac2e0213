#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/comm/failure_board.hpp>
#include <galapagos/model/layer_pass.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/output_pass.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {

/// A batch, and which of all calibration tokens its first one is.
struct NumberedBatch {
  Batch batch;
  std::uint64_t first_token = 0;
};

/// How gradients are gathered.
struct GradientGathering {
  SensitivityForm form = SensitivityForm::full;
  std::int64_t samples = 1;
  std::uint64_t seed = 0;
  std::int64_t most_tokens = 1;    ///< of a batch
  std::int64_t window_tokens = 1;  ///< of a lane between one reduction and the next
  bool recompute = false;  ///< keep only what goes into each layer, and compute it again on the way back
  // Of the context, for those that count bytes without one:
  Device device = Device::cpu;
  DType activations = DType::f32;
};

/// Sums g g^T over tokens, g [hidden] being the gradient by a module's output of the negative log-likelihood
/// of ids that are drawn from the model itself at every position: the Fisher information's own expectation,
/// so that no text is needed but as context (DESIGN section 2; Amari, "Natural gradient works efficiently in
/// learning", 1998). Sums are [hidden, hidden] fp32, lower triangle, or [hidden] of the squares alone.
///
/// On each rank of a grid of stages and lanes: its stage of the model, hidden states go up the stages, then
/// gradients come down; or where there is one stage, on each of several shards its part of every layer. Which
/// id is drawn depends on the seed and the token's number alone.
class GradientCollector {
 public:
  /// Loads this rank's part of the model. Errors as the source's. The references must outlive this.
  GradientCollector(const ops::Context& context, const Communicator& comm, const ModelSource& source,
                    std::span<const ModuleId> modules, const PipelineGrid& grid, int rank_in_grid,
                    const Shards& shards, const GradientGathering& how);

  /// Bytes of a rank with layers `span` of several stages, or of one.
  static std::uint64_t bytes(const HfConfig& config, DType precision, const LayerSpan& span, bool one_stage,
                             const GradientGathering& how);

  /// The way up of this lane's batches, and on the last stage back through it. On all ranks of the grid;
  /// errors go to the board, which all ranks then settle.
  void go_up(std::span<const NumberedBatch> batches, FailureBoard& board);
  /// The same batches' way down; nothing is left to do where there is one stage.
  void go_down(FailureBoard& board);

  /// Of this rank's modules.
  std::map<ModuleId, OwnedTensor>& sums() { return sums_; }

 private:
  void run_layers(const Batch& batch, const Tensor& hidden);
  void gradient_of_sample(const NumberedBatch& batch, std::int64_t sample, const Tensor& hidden,
                          const Tensor& d_hidden);
  /// Where the tapes are not new, a way back before has spoilt them.
  void back_through_layers(const Batch& batch, const Tensor& d_hidden, bool tapes_are_new);
  void check_finite(const Tensor& hidden) const;
  void go_on_shards(std::span<const NumberedBatch> batches, FailureBoard& board);
  void wait(const Tensor& states);

  const ops::Context& context_;
  const Communicator& comm_;
  const PipelineGrid& grid_;
  const Shards& shards_;
  GradientGathering how_;
  HfConfig config_;
  StageWeights stage_;
  std::optional<HeadWeights> head_;  // on the last stage
  std::map<ModuleId, OwnedTensor> sums_;
  LayerPass layers_;
  std::vector<OwnedTensor> before_;  // what goes into each layer
  std::vector<LayerTape> tapes_;     // of each layer, or one for all
  std::optional<OutputPass> output_;
  std::optional<LogitLosses> losses_;
  OwnedTensor hidden_[3], again_, d_hidden_;
  std::vector<Batch> batches_;  // that went up
  std::vector<OwnedTensor>
      waiting_;  // on the host: what went into this stage, or on the last what comes down
};

}  // namespace galapagos
