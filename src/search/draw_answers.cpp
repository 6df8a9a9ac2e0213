#include <algorithm>

#include <galapagos/model/family_rules.hpp>
#include <galapagos/ops/transfer.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/ops/tuning.hpp>
#include <galapagos/search/draw_answers.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {
DrawAnswers::DrawAnswers(const ops::Context& context, const HfConfig& config, const HeadWeights& head,
                         std::uint64_t kept_bytes)
    : context_(context), config_(config), head_(head), kept_bytes_(kept_bytes) {}

DrawAnswers::Buffers::Buffers(const ops::Context& context, const HfConfig& config, std::int64_t tokens)
    : normed(logits_scratch(context, config, tokens)),
      wide(hidden_states(context, config, std::min(tokens, ops::rows_brought))) {}

std::uint64_t DrawAnswers::bytes(const HfConfig& config, std::int64_t tokens, Device device,
                                 DType activations) {
  const ops::Context context = ops::Context::planned(device, activations);
  return bytes_held([&] { return Buffers(context, config, tokens); });
}

void DrawAnswers::take(DenseAnswers answers, const TokenSet& pool, const TokenDraw& draw) {
  if (answers.data() == answers_.data() && sequences_ == draw.sequences && offsets_ == draw.offsets) return;
  sequences_.clear();
  normed_ = {};
  kept_ = {};
  made_ = 0;
  const std::int64_t hidden = config_.hidden_size, tokens = static_cast<std::int64_t>(draw.tokens.size());
  Buffers buffers(context_, config_, tokens);
  normed_ = std::move(buffers.normed);
  const OwnedTensor& wide = buffers.wide;
  std::int64_t next = 0;  // token of the draw
  std::int64_t held = 0;  // rows in `wide`
  const auto norm_held = [&] {
    ops::rms_norm(context_, wide->slice(0, held), head_.norm, norm_rule(config_),
                  normed_->slice(next - held, held));
    held = 0;
  };
  for (std::size_t s = 0; s < draw.sequences.size(); ++s) {
    auto from = static_cast<std::int64_t>(pool.offsets[draw.sequences[s]]);
    auto left = static_cast<std::int64_t>(draw.offsets[s + 1] - draw.offsets[s]);
    while (left > 0) {
      const std::int64_t count = std::min(left, wide->rows() - held);
      const auto words =
          answers.subspan(static_cast<std::size_t>(from * hidden), static_cast<std::size_t>(count * hidden));
      ops::upload(context_, std::as_bytes(words), wide->slice(held, count));
      from += count;
      left -= count;
      next += count;
      held += count;
      if (held == wide->rows() || next == tokens) norm_held();
    }
  }
  const auto row = static_cast<std::uint64_t>(config_.vocab_size) * sizeof(float);
  const std::int64_t kept = std::min(tokens, static_cast<std::int64_t>(kept_bytes_ / row));
  kept_ =
      OwnedTensor({kept, config_.vocab_size}, DType::f32, context_.device(), "logits of the unpruned model");
  answers_ = answers;
  sequences_ = draw.sequences;
  offsets_ = draw.offsets;
}

Tensor DrawAnswers::logits(std::int64_t first, std::int64_t rows, const Tensor& room) {
  const std::int64_t end = first + rows;
  const bool keep = end <= kept_->rows() && first <= made_;
  const Tensor found = keep ? kept_->slice(first, rows) : room;
  if (keep && end <= made_) return found;
  head_logits(context_, config_, normed_->slice(first, rows), head_.head, found);
  if (keep) made_ = end;
  return found;
}

}  // namespace galapagos
