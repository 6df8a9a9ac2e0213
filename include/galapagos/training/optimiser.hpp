#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/model/model_weights.hpp>
#include <galapagos/model/shards.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// torch.optim.AdamW's, but for the learning rate.
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
};

/// The state of consecutive parameters in fp32; moments of zero, weights not yet there.
struct AdamWTensors {
  OwnedTensor master, first_moment, second_moment;

  AdamWTensors() = default;
  AdamWTensors(Device device, std::uint64_t parameters);
};

/// AdamW with fp32 master weights and moments, of which every rank holds one consecutive part (as ZeRO stage
/// 1, Rajbhandari et al. 2020). Where a model is held by several shards, the ranks are those that hold the
/// same part of it, and only the gradient's norm is common to all. After a step every rank's working weights
/// are the master weights rounded to the working precision; norms and biases, kept in fp32, are rounded to it
/// too, so that the model in memory is the one that a checkpoint of that precision would hold.
class ShardedAdamW {
 public:
  /// Collective over `replicas`, the ranks that the state is dealt to. Master weights from `weights`; moments
  /// of zero. The references must outlive this.
  ShardedAdamW(Collectives& replicas, const ops::Context& context, const ModelWeights& weights,
               DType precision, const AdamWOptions& options, const Shards& shards = alone());

  /// Bytes that a rank holds beside the working weights and the gradients.
  static std::uint64_t bytes(std::int64_t parameters, int ranks);
  /// Bytes that a step reads and writes in a rank's memory, but for what MPI does.
  static double streamed(std::int64_t parameters, int ranks, DType precision);

  /// Collective, also over the shards. Sums the gradients over the ranks, scales the sum down to a norm of at
  /// most `clip` (0: as it is), updates the weights and sets the gradients to zero. Returns the norm before
  /// clipping; where that is not finite no weight is updated.
  double step(const Gradients& gradients, double learning_rate, double clip);
  /// The same without clipping, for those who do not ask for the norm: the gradients are read once. False
  /// where they were not finite; the weights are worth nothing then.
  bool step_unclipped(const Gradients& gradients, double learning_rate);

  std::int64_t steps() const { return steps_; }

  /// This rank's part: elements [first(), first() + master().elements()) of all parameters, in their order.
  std::uint64_t first() const { return bounds_[static_cast<std::size_t>(replicas_.ranks().rank())]; }
  std::uint64_t parameters() const { return bounds_.back(); }
  const Tensor& master() const { return own_.master.view(); }
  const Tensor& first_moment() const { return own_.first_moment.view(); }
  const Tensor& second_moment() const { return own_.second_moment.view(); }

  /// Collective, after the state has been read from a checkpoint.
  void restore(std::int64_t steps, const Gradients& scratch);
  /// Collective. All master weights, in the order of the parameters, in the memory of `gradients`.
  void gather_master(const Gradients& gradients) const;

 private:
  /// What this rank has of a parameter.
  struct Piece {
    Tensor weight;
    std::int64_t at = 0;  ///< in the rank's part
    bool held_by_all = false;
  };

  bool single() const { return replicas_.ranks().size() == 1; }
  Tensor own_part(const Gradients& gradients) const;
  Tensor sum_gradients(const Gradients& gradients) const;
  double norm_of(const Tensor& mine) const;
  void update(const Gradients& gradients, double learning_rate, double factor, const Tensor& bad);
  void share_weights() const;

  Collectives& replicas_;
  const ops::Context& context_;
  const Shards& shards_;
  DType precision_;
  AdamWOptions options_;
  std::vector<std::uint64_t> bounds_;
  std::vector<Piece> pieces_;
  std::vector<GatheredPart> of_replicas_;  // all working weights, each part with its owner
  std::vector<Tensor> of_shards_;          // those that all shards hold
  AdamWTensors own_;
  OwnedTensor bad_;  // a gradient that is not finite, after step_unclipped()
  std::int64_t steps_ = 0;
};

}  // namespace galapagos
