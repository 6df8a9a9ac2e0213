#pragma once

#include "gradient_buffers.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/comm/failure_board.hpp>

namespace galapagos {

/// A batch, and which of all calibration tokens its first one is.
struct NumberedBatch {
  Batch batch;
  std::uint64_t first_token = 0;
};

/// Sums g g^T over tokens, g [hidden] being the gradient by a module's output of the negative log-likelihood
/// of ids that are drawn from the model itself at every position: the Fisher information's own expectation,
/// so that no text is needed but as context (DESIGN section 2; Amari, "Natural gradient works efficiently in
/// learning", 1998).
///
/// With the unpruned model beside it, also the sums of g a^T, g now being the gradient of KL(unpruned ||
/// model) and a all the inputs that the unpruned module has at what the model's own is given: the gradient of
/// the divergence by the module's weight, also where that is pruned.
///
/// On each rank of a grid of stages and lanes: its stage of the model, hidden states go up the stages, then
/// gradients come down; or where there is one stage, on each of several shards its part of every layer. Which
/// id is drawn depends on the seed and the token's number alone.
class GradientCollector {
 public:
  /// Loads this rank's part of the model, and of the `dense` one, which may be null. g g^T is summed of
  /// `modules`, g a^T of all that the stage's layers have. Errors as the sources'. The references must
  /// outlive this.
  GradientCollector(const ops::Context& context, const Communicator& comm, const ModelSource& source,
                    const ModelSource* dense, std::span<const ModuleId> modules, const PipelineGrid& grid,
                    int rank_in_grid, const Shards& shards, const GradientGathering& how);

  /// Bytes of a rank with layers `span` of several stages, or of one, and these of their modules; `dense` may
  /// be null.
  static std::uint64_t bytes(const HfConfig& config, const HfConfig* dense, DType precision,
                             const LayerSpan& span, std::span<const ModuleId> modules, bool one_stage,
                             const GradientGathering& how);

  /// The way up of this lane's batches, and on the last stage back through it. On all ranks of the grid;
  /// errors go to the board, which all ranks then settle.
  void go_up(std::span<const NumberedBatch> batches, FailureBoard& board);
  /// The same batches' way down; nothing is left to do where there is one stage.
  void go_down(FailureBoard& board);

  /// Of this rank's modules, g g^T.
  const std::map<ModuleId, CurvatureSum>& sums() const { return buffers_.sums; }
  /// Of its stage's, sums of a g^T [columns of this shard, hidden] fp32.
  const std::map<ModuleId, OwnedTensor>& first_orders() const { return buffers_.first_orders; }

 private:
  /// Ways back of a batch: the divergence's, where there is one, and one for each sample.
  std::size_t ways() const { return static_cast<std::size_t>(how_.samples) + (buffers_.dense ? 1 : 0); }
  bool of_divergence(std::size_t way) const { return buffers_.dense && way == 0; }

  void run_layers(const Batch& batch, const Tensor& hidden);
  void run_dense(const Batch& batch, const Tensor& hidden);
  /// `answer`: the unpruned model's last hidden states; empty without it.
  void begin_way_back(const NumberedBatch& batch, std::size_t way, const Tensor& hidden, const Tensor& answer,
                      const Tensor& d_hidden);
  void gradient_of_divergence(const Tensor& hidden, const Tensor& answer, const Tensor& d_hidden);
  void gradient_of_sample(const NumberedBatch& batch, std::int64_t sample, const Tensor& hidden,
                          const Tensor& d_hidden);
  /// All but the first way find tapes that the one before has spoilt.
  void back_through_layers(const Batch& batch, const Tensor& d_hidden, std::size_t way);
  void add_first_order(const ModuleId& module, const Batch& batch, const Tensor& before,
                       const Tensor& gradient);
  void check_finite(const Tensor& hidden) const;
  void go_on_shards(std::span<const NumberedBatch> batches, FailureBoard& board);
  void go_up_dense(FailureBoard& board);
  void wait(const Tensor& states);

  const ops::Context& context_;
  const Communicator& comm_;
  const PipelineGrid& grid_;
  const Shards& shards_;
  GradientGathering how_;
  HfConfig config_;
  StageWeights stage_;
  std::optional<HeadWeights> head_;         // on the last stage
  std::optional<HfConfig> dense_config_;    // the unpruned model's
  std::vector<LayerWeights> dense_layers_;  // of this stage
  ops::Context exact_;                      // whose products keep fp32
  GradientBuffers buffers_;
  std::vector<Batch> batches_;  // that went up
  std::vector<OwnedTensor>
      waiting_;  // on the host: what went into this stage, or on the last what comes down
  std::vector<OwnedTensor> answers_;  // likewise, on the last: of the unpruned model
};

}  // namespace galapagos
