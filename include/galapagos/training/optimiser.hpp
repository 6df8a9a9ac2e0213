#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/comm/communicator.hpp>
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

/// AdamW with fp32 master weights and moments, of which every rank holds one consecutive part (as ZeRO stage
/// 1, Rajbhandari et al. 2020). Where a model is held by several shards, the ranks are those that hold the
/// same part of it, and only the gradient's norm is common to all. After a step every rank's working weights
/// are the master weights rounded to the working precision; norms and biases, kept in fp32, are rounded to it
/// too, so that the model in memory is the one that a checkpoint of that precision would hold.
class ShardedAdamW {
 public:
  /// Collective. Master weights from `weights`, which must outlive this; moments of zero.
  ShardedAdamW(const Communicator& comm, const ops::Context& context, const ModelWeights& weights,
               DType precision, const AdamWOptions& options, const Shards& shards = alone());

  /// Bytes that a rank holds beside the working weights and the gradients.
  static std::uint64_t bytes(std::int64_t parameters, int ranks);
  /// Bytes that a step reads and writes in a rank's memory, but for what MPI does.
  static double streamed(std::int64_t parameters, int ranks, DType precision);

  /// Collective, also over the shards. Sums the gradients over the ranks, scales the sum down to a norm of at
  /// most `clip` (0: as it is), updates the weights and sets the gradients to zero. Returns the norm before
  /// clipping; where that is not finite nothing is updated.
  double step(const Gradients& gradients, double learning_rate, double clip);

  std::int64_t steps() const { return steps_; }

  /// This rank's part: elements [first(), first() + master().elements()) of all parameters, in their order.
  std::uint64_t first() const { return bounds_[static_cast<std::size_t>(comm_.rank())]; }
  std::uint64_t parameters() const { return bounds_.back(); }
  const Tensor& master() const { return master_.view(); }
  const Tensor& first_moment() const { return first_moment_.view(); }
  const Tensor& second_moment() const { return second_moment_.view(); }

  /// Collective, after the state has been read from a checkpoint.
  void restore(std::int64_t steps, const Gradients& scratch);
  /// Collective. All master weights, in the order of the parameters, in the memory of `gradients`.
  void gather_master(const Gradients& gradients) const;

 private:
  Tensor sum_gradients(const Gradients& gradients) const;
  double norm_of(const Tensor& mine) const;
  void store(const Tensor& values, const Tensor& weight) const;
  void spread(const Gradients& scratch);

  const Communicator& comm_;
  const ops::Context& context_;
  const Shards& shards_;
  std::vector<NamedTensor> weights_;
  DType precision_;
  AdamWOptions options_;
  std::vector<std::uint64_t> bounds_;
  OwnedTensor master_, first_moment_, second_moment_, gradient_;
  std::int64_t steps_ = 0;
};

}  // namespace galapagos
