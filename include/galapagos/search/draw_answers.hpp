#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/model/forward.hpp>
#include <galapagos/search/token_draw.hpp>

namespace galapagos {

/// The dense model's last hidden states (before the final norm) for every token of a pool, [tokens, hidden]
/// fp32 in host memory, in the order of the pool.
using DenseAnswers = std::span<const float>;

/// The dense model's answers to the tokens of one draw, on the device: its last hidden states behind the
/// final norm, as activations, and the logits of as many of the first tokens as there is room for. They stay
/// until another draw is asked for, whatever is compared with them.
class DrawAnswers {
 public:
  /// `kept_bytes` for logits. The references must outlive this.
  DrawAnswers(const ops::Context& context, const HfConfig& config, const HeadWeights& head,
              std::uint64_t kept_bytes);

  /// Bytes that it holds for a draw of so many tokens beside the logits that are kept.
  static std::uint64_t bytes(const HfConfig& config, std::int64_t tokens, Device device, DType activations);

  /// Brings the answers for a draw from the pool to the device, if they are not there yet. `answers` must
  /// stay as they are while this lives.
  void take(DenseAnswers answers, const TokenSet& pool, const TokenDraw& draw);

  /// The logits of tokens [first, first + rows), which are kept, or else made in `room` [rows, vocabulary].
  Tensor logits(std::int64_t first, std::int64_t rows, const Tensor& room);

 private:
  /// Of a draw of so many tokens: their normed states, and some on their way to be normed.
  struct Buffers {
    OwnedTensor normed, wide;

    Buffers(const ops::Context& context, const HfConfig& config, std::int64_t tokens);
  };

  const ops::Context& context_;
  const HfConfig& config_;
  const HeadWeights& head_;
  std::uint64_t kept_bytes_;
  DenseAnswers answers_;
  std::vector<std::uint32_t> sequences_;  // of the draw, with their offsets
  std::vector<std::uint64_t> offsets_;
  OwnedTensor normed_, kept_;
  std::int64_t made_ = 0;  // rows of kept_
};

}  // namespace galapagos
