#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/search/draw_answers.hpp>
#include <galapagos/search/fitness.hpp>

namespace galapagos {

/// The fitness that the losses of a draw's tokens come to: their mean over the predicted ones, sequence by
/// sequence, finished as the fitness has it.
double fitness_of(const Fitness& fitness, std::span<const double> losses, const TokenDraw& draw);

/// From last hidden states of candidates to their fitness, all on the same tokens; on each of several shards
/// with its slice of the vocabulary.
class FitnessMeter {
 public:
  /// `head` is the dense model's, of whose logits `kept_bytes` are kept from one call to the next. The
  /// references must outlive this.
  FitnessMeter(const ops::Context& context, const HfConfig& config, const HeadWeights& head,
               const Shards& shards, std::uint64_t kept_bytes);

  /// Bytes that measuring takes beside weights and activations.
  struct Bytes {
    std::uint64_t states = 0;  ///< last hidden states of candidates and of the dense model
    std::uint64_t logits = 0;  ///< of a tile, and what they are made from
  };
  static Bytes bytes(const HfConfig& config, FitnessKind kind, std::int64_t tokens, std::int64_t candidates,
                     int shards, Device device, DType activations);
  /// How many candidates' last hidden states are held at a time. Whatever is walked or made once for all of
  /// them has to be again for the next.
  static std::size_t candidates_at_once(const HfConfig& config, std::int64_t tokens, Device device);

  /// The loss of each token of the draw, one of `finals` after the other, [tokens, hidden] each, all with one
  /// norm and head; empty where `stop`, the same on all shards, says so between two tiles. What a sequence's
  /// last token has means nothing. The answers of a pool must be the same in all calls, and stay where they
  /// are.
  std::vector<double> losses(const Fitness& fitness, std::span<const OwnedTensor> finals, const Tensor& norm,
                             const Tensor& head, const TokenSet& pool, const TokenDraw& draw,
                             DenseAnswers answers, const std::function<bool()>& stop);

 private:
  const ops::Context& context_;
  const HfConfig& config_;
  const Shards& shards_;
  DrawAnswers dense_;
};

}  // namespace galapagos
