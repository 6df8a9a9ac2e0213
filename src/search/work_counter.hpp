#pragma once

#include <span>

#include <galapagos/model/shard_traffic.hpp>
#include <galapagos/search/search_options.hpp>

namespace galapagos {

/// What measuring candidates takes.
struct Work {
  double operations = 0;
  double streamed = 0;  ///< bytes of weights
  double layers = 0;    ///< operations in layers alone
  ShardTraffic traffic;

  Work& operator+=(const Work& other) {
    operations += other.operations;
    streamed += other.streamed;
    layers += other.layers;
    traffic += other.traffic;
    return *this;
  }
};

/// Counts the work of a replica, from shapes alone.
class WorkCounter {
 public:
  /// The references must outlive this. Weights are of `precision`, activations of theirs,
  /// sequences of up to `sequence_length`.
  WorkCounter(const SearchSpace& space, const HfConfig& config, const SearchOptions& options, DType precision,
              DType activations, std::int64_t sequence_length);

  /// Operations of the layers of an assignment for some tokens.
  double layers(const Assignment& assignment, std::int64_t tokens) const;
  /// As Replica::fitness goes about it: the base once as far as needed, each candidate from its first
  /// difference on, and the logits.
  Work fitness(const Assignment& base, std::span<const Assignment> candidates, std::int64_t tokens) const;
  /// As Replica::tuned_fitness goes about it: every candidate is fine-tuned and then measured by itself.
  Work tuned_fitness(std::span<const Assignment> candidates, const SelectionStage& stage) const;
  /// Fine-tuning of one candidate: forward and, at twice the cost, backward; its layers once more where
  /// activations are computed again; AdamW after each sequence.
  Work training(const Assignment& candidate, std::int64_t tokens) const;
  /// Of RelaxedModel::gradient() near a candidate: forward, backward by what goes into each product, and by
  /// the weights of o_proj and down_proj, a third of all; its layers once more where activations are computed
  /// again; logits of both models, and back from those of one.
  Work learning(const Assignment& candidate, std::int64_t tokens) const;
  /// Bytes of the modules in which candidates differ from the base.
  double switched(const Assignment& base, std::span<const Assignment> candidates) const;

 private:
  /// Modules [from, to) of the levels of every module.
  Work modules(const Assignment& levels, std::size_t from, std::size_t to, std::int64_t tokens) const;
  ShardTraffic comparison(std::int64_t tokens, double candidates) const;
  Assignment shape_of(const Assignment& candidate) const;
  double parameter_bytes(std::size_t module, std::int64_t level) const;

  const SearchSpace &searched_, &space_;  // of the assignments that are given, and of every module
  const HfConfig& config_;
  const SearchOptions& options_;
  DType precision_, activations_;
  std::int64_t sequence_length_;
  double dense_logits_;                                            // operations of a token
  ShardTraffic dense_traffic_, loss_traffic_, embedding_traffic_;  // of a token
};

}  // namespace galapagos
