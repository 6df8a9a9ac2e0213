#include <algorithm>

#include <galapagos/model/logit_tiles.hpp>
#include <galapagos/ops/transfer.hpp>
#include <galapagos/search/fitness_meter.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {
namespace {

std::uint64_t states_bytes(const HfConfig& config, std::int64_t tokens) {
  const ops::Context context = ops::Context::planned(Device::cpu, DType::f32);
  return bytes_held([&] { return hidden_states(context, config, tokens); });
}

/// Where what is found for each token of some candidates stays until all is there.
Buffer found_losses(std::size_t values, Device device) {
  return {values * sizeof(double), device, "losses"};
}

}  // namespace

double fitness_of(const Fitness& fitness, std::span<const double> losses, const TokenDraw& draw) {
  double total = 0;
  for (std::size_t s = 0; s + 1 < draw.offsets.size(); ++s) {
    double sum = 0;
    for (std::uint64_t i = draw.offsets[s]; i + 1 < draw.offsets[s + 1]; ++i) sum += losses[i];
    total += sum;
  }
  return row_of(fitness.kind).finish(total / static_cast<double>(draw.predicted()));
}

FitnessMeter::FitnessMeter(const ops::Context& context, const HfConfig& config, const HeadWeights& head,
                           const Shards& shards, std::uint64_t kept_bytes)
    : context_(context), config_(config), shards_(shards), dense_(context, config, head, kept_bytes) {}

std::size_t FitnessMeter::candidates_at_once(const HfConfig& config, std::int64_t tokens, Device device) {
  return std::max<std::size_t>(
      1, ops::compared_states(device) / std::max<std::uint64_t>(1, states_bytes(config, tokens)));
}

FitnessMeter::Bytes FitnessMeter::bytes(const HfConfig& config, FitnessKind kind, std::int64_t tokens,
                                        std::int64_t candidates, int shards, Device device,
                                        DType activations) {
  const FitnessRow& row = row_of(kind);
  const std::uint64_t held = std::min<std::uint64_t>(candidates_at_once(config, tokens, device),
                                                     static_cast<std::uint64_t>(candidates));
  Bytes bytes;
  // The first: the way of the base.
  bytes.states = (1 + held) * states_bytes(config, tokens);
  if (row.with_dense) bytes.states += DrawAnswers::bytes(config, tokens, device, activations);
  const ops::Context context = ops::Context::planned(device, activations);
  const std::int64_t tile = ops::logit_tile(device, tokens);
  bytes.logits =
      bytes_held([&] { return LogitBuffers(context, alone(), tile, config.vocab_size, row.with_dense); }) +
      bytes_held([&] { return logits_scratch(context, config, tile); }) +
      bytes_held([&] { return found_losses(held * static_cast<std::size_t>(tokens), device); });
  if (row.gathers_rows && shards > 1)
    bytes.logits += 2 * bytes_held([&] { return gathered_logits(device, tile, shards * config.vocab_size); });
  return bytes;
}

std::vector<double> FitnessMeter::losses(const Fitness& fitness, std::span<const OwnedTensor> finals,
                                         const Tensor& norm, const Tensor& head, const TokenSet& pool,
                                         const TokenDraw& draw, DenseAnswers answers,
                                         const std::function<bool()>& stop) {
  const FitnessRow& row = row_of(fitness.kind);
  const auto tokens = static_cast<std::int64_t>(draw.tokens.size());
  const std::int64_t tile = ops::logit_tile(context_.device(), tokens);
  LogitBuffers buffers(context_, shards_, tile, config_.vocab_size, row.with_dense);
  LogitLosses& losses = buffers.losses;
  std::vector<std::int32_t> targets(draw.tokens.begin() + 1, draw.tokens.end());
  targets.push_back(0);  // the last token of a sequence predicts nothing and is left out of the mean
  std::vector<double> values(finals.size() * draw.tokens.size());
  const Buffer found = found_losses(values.size(), shards_.alone() ? context_.device() : Device::cpu);
  const ops::RowValues all(reinterpret_cast<double*>(found.data()), static_cast<std::int64_t>(values.size()),
                           found.device());
  if (row.with_dense) shards_.run([&] { dense_.take(answers, pool, draw); });
  const bool all_made =
      for_logit_tiles(context_.device(), tokens, [&](std::int64_t first, std::int64_t rows) {
        if (stop()) return false;
        const std::span<const std::int32_t> next =
            std::span(targets).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows));
        const Tensor other = buffers.logits->slice(0, rows);
        shards_.run([&] {
          if (row.with_dense) losses.take_reference(dense_.logits(first, rows, losses.reference(rows)));
          for (std::size_t c = 0; c < finals.size(); ++c) {
            compute_logits(context_, config_, norm, head, finals[c]->slice(first, rows), other);
            row.loss(losses, fitness, other, next,
                     all.part(static_cast<std::int64_t>(c) * tokens + first, rows));
          }
        });
        return true;
      });
  if (!all_made) return {};
  shards_.run([&] { ops::download(context_, all, values); });
  return values;
}

}  // namespace galapagos
