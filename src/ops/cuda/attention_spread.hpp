#pragma once

#include "attention_kernels.hpp"

// Attention in which query heads share KV heads unevenly, as they do once some are pruned, for what only
// knows even groups: keys and values are copied for each query head.
namespace galapagos::ops::cuda {

class SpreadHeads {
 public:
  /// Copies the keys and values of the sequences of `input`, which must outlive this.
  SpreadHeads(Resources& gpu, const AttentionInput& input);

  /// The same attention with a KV head for each query head.
  AttentionInput input() const {
    return {input_.q, keys_, values_, input_.head_dim, own_head_, input_.offsets, input_.rule};
  }

  /// Gradients by the copies, in place of d_k and d_v, to be written.
  const Tensor& d_keys() const { return d_keys_; }
  const Tensor& d_values() const { return d_values_; }
  void make_gradients();
  /// d_k and d_v of these sequences: sums over the query heads of each KV head in fp32, in their order.
  void sum_up(Resources& gpu, const Tensor& d_k, const Tensor& d_v) const;

 private:
  OwnedTensor copy() const;

  const AttentionInput& input_;
  std::vector<std::int32_t> own_head_;
  OwnedTensor keys_, values_, d_keys_, d_values_;
};

}  // namespace galapagos::ops::cuda
