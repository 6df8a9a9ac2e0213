#include "gradient_collector.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

constexpr std::uint8_t drawing_ids = 32;  // what the random numbers are for

/// Uniform in [0, 1): of a token's sample.
double uniform(std::uint64_t seed, std::uint64_t token, std::int64_t sample) {
  RandomStream stream(seed, {static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(token >> 32),
                             static_cast<std::uint32_t>(sample), drawing_ids});
  const std::uint64_t high = stream.next() >> 5, low = stream.next() >> 6;
  return static_cast<double>((high << 26) + low) * 0x1p-53;
}

Tensor first_rows(const OwnedTensor& tensor, std::int64_t rows) {
  return tensor->slice(0, rows);
}

}  // namespace

GradientCollector::GradientCollector(const ops::Context& context, const Communicator& comm,
                                     const ModelSource& source, std::span<const ModuleId> modules,
                                     const PipelineGrid& grid, int rank_in_grid, const Shards& shards,
                                     const GradientGathering& how)
    : context_(context),
      comm_(comm),
      grid_(grid),
      shards_(shards),
      how_(how),
      config_(source.config),
      stage_(load_stage(source, grid.spans[static_cast<std::size_t>(grid.stage_of(rank_in_grid))])),
      layers_(context, config_, how.most_tokens, shards) {
  const auto states = [&] {
    return OwnedTensor({how.most_tokens, config_.hidden_size}, DType::f32, context.device(), "hidden states");
  };
  for (const ModuleId& module : modules) {
    if (module.layer < stage_.span.first || module.layer >= stage_.span.last) continue;
    const std::int64_t n = config_.hidden_size;
    OwnedTensor sum(how.form == SensitivityForm::full ? Shape{n, n} : Shape{n}, DType::f32, context.device(),
                    "the sensitivity of " + name_of(module));
    fill_zero(sum);
    sums_.emplace(module, std::move(sum));
  }
  for (std::int64_t layer = stage_.span.first; layer < stage_.span.last; ++layer) {
    before_.push_back(states());
    if (!how.recompute) tapes_.emplace_back(context, config_, config_.shape(layer), how.most_tokens);
  }
  if (how.recompute) tapes_.emplace_back(context, config_, widest_shape(config_), how.most_tokens);
  for (OwnedTensor& buffer : hidden_) buffer = states();
  again_ = states();
  d_hidden_ = states();
  if (stage_.span.last < config_.layers) return;
  head_.emplace(source.head());
  output_.emplace(context, config_, how.most_tokens, shards);
  losses_.emplace(context, shards, OutputPass::tile(how.most_tokens, context.device()), config_.vocab_size,
                  false);
}

std::uint64_t GradientCollector::bytes(const HfConfig& config, DType precision, const LayerSpan& span,
                                       bool one_stage, const GradientGathering& how) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden_size);
  std::int64_t width = (span.count() + 5) * config.hidden_size * static_cast<std::int64_t>(sizeof(float)) +
                       LayerPass::width(config, how.activations);
  if (how.recompute) width += LayerTape::width(config, widest_shape(config), how.activations);
  for (std::int64_t layer = span.first; layer < span.last && !how.recompute; ++layer)
    width += LayerTape::width(config, config.shape(layer), how.activations);
  std::uint64_t bytes =
      stage_weight_bytes(config, span, precision) + static_cast<std::uint64_t>(how.most_tokens * width);
  if (span.last == config.layers) {
    bytes += static_cast<std::uint64_t>(config.vocab_size * config.hidden_size) * size_of(precision) +
             OutputPass::bytes(config, how.most_tokens, how.device);
  }
  // What waits on the host between the way up and the way down, and the sums: as they are, and packed.
  const std::int64_t waiting = one_stage ? 0 : span.last == config.layers ? how.samples : 1;
  bytes += static_cast<std::uint64_t>(how.window_tokens * waiting) * hidden * sizeof(float);
  const auto modules = static_cast<std::uint64_t>(2 * span.count());
  return bytes +
         modules * sizeof(float) *
             (how.form == SensitivityForm::full ? hidden * hidden + hidden * (hidden + 1) / 2 : 2 * hidden);
}

void GradientCollector::check_finite(const Tensor& hidden) const {
  if (ops::all_finite(context_, hidden)) return;
  throw NumericalError("activations or gradients became NaN or infinite",
                       fmt::format("layers {} to {}", stage_.span.first, stage_.span.last - 1),
                       "check the checkpoint, or use --precision fp32");
}

void GradientCollector::run_layers(const Batch& batch, const Tensor& hidden) {
  for (std::size_t i = 0; i < stage_.layers.size(); ++i) {
    const LayerTape& tape = tapes_[how_.recompute ? 0 : i];
    copy_values(hidden, first_rows(before_[i], hidden.rows()));
    layers_.fill_tape(stage_.layers[i], batch.offsets, tape, hidden);
    layers_.finish(stage_.layers[i], tape, hidden);
  }
}

void GradientCollector::gradient_of_sample(const NumberedBatch& numbered, std::int64_t sample,
                                           const Tensor& hidden, const Tensor& d_hidden) {
  std::vector<double> uniforms;
  std::vector<std::int32_t> ids;
  fill_zero(d_hidden);
  output_->run(head_->norm, head_->head, hidden, d_hidden,
               [&](std::int64_t first, const Tensor& logits) {
                 const auto rows = static_cast<std::size_t>(logits.rows());
                 uniforms.clear();
                 for (std::size_t row = 0; row < rows; ++row) {
                   uniforms.push_back(uniform(
                       how_.seed, numbered.first_token + static_cast<std::uint64_t>(first) + row, sample));
                 }
                 ids.resize(rows);
                 losses_->draw(logits, uniforms, ids);
                 losses_->nll_backward(ids, std::vector<float>(rows, 1.0f), logits);
                 return 0.0;
               },
               {});
}

void GradientCollector::back_through_layers(const Batch& batch, const Tensor& d_hidden, bool tapes_are_new) {
  const auto tap = [&](const ModuleId& module) -> std::function<void(const Tensor&)> {
    const auto found = sums_.find(module);
    if (found == sums_.end()) return {};
    return [this, &sum = found->second](const Tensor& gradient) {
      if (how_.form == SensitivityForm::full) {
        ops::accumulate_gram(context_, gradient, 1.0f, sum);
      } else {
        ops::add_column_squares(context_, gradient, sum);
      }
    };
  };
  for (std::size_t i = stage_.layers.size(); i-- > 0;) {
    const std::int64_t layer = stage_.span.first + static_cast<std::int64_t>(i);
    const Tensor before = first_rows(before_[i], d_hidden.rows());
    const LayerTape& tape = tapes_[how_.recompute ? 0 : i];
    if (how_.recompute) {
      const Tensor again = first_rows(again_, d_hidden.rows());
      copy_values(before, again);
      layers_.fill_tape(stage_.layers[i], batch.offsets, tape, again);
    } else if (!tapes_are_new) {
      layers_.refill_tape(stage_.layers[i], tape, d_hidden.rows());
    }
    layers_.backward(stage_.layers[i], batch.offsets, tape, before, d_hidden, {},
                     {tap({layer, ModuleKind::attention}), tap({layer, ModuleKind::ffn})});
  }
}

void GradientCollector::go_on_shards(std::span<const NumberedBatch> batches, FailureBoard& board) {
  Progress progress("batches", static_cast<std::int64_t>(batches.size()));
  for (const NumberedBatch& numbered : batches) {
    const auto tokens = static_cast<std::int64_t>(numbered.batch.tokens.size());
    const Tensor hidden = first_rows(hidden_[0], tokens), d_hidden = first_rows(d_hidden_, tokens);
    if (shards_.root_says(board.failed())) return;
    shards_.run([&] {
      embed_tokens(context_, shards_, numbered.batch.tokens, stage_.embedding, hidden);
      run_layers(numbered.batch, hidden);
    });
    if (shards_.is_root()) board.attempt([&] { check_finite(hidden); });  // all shards have the same states
    if (shards_.root_says(board.failed())) return;
    shards_.run([&] {
      for (std::int64_t sample = 0; sample < how_.samples; ++sample) {
        gradient_of_sample(numbered, sample, hidden, d_hidden);
        back_through_layers(numbered.batch, d_hidden, sample == 0);
      }
    });
    progress.advance();
  }
}

void GradientCollector::wait(const Tensor& states) {
  waiting_.push_back(copy_of(states, Device::cpu, "hidden states that wait"));
}

void GradientCollector::go_up(std::span<const NumberedBatch> batches, FailureBoard& board) {
  if (!shards_.alone()) return go_on_shards(batches, board);
  const bool first = stage_.span.first == 0, last = head_.has_value();
  waiting_.clear();
  batches_.clear();
  for (const NumberedBatch& numbered : batches) batches_.push_back(numbered.batch);
  Progress progress("batches", static_cast<std::int64_t>(batches.size()));
  std::size_t next = 0;
  stream_batches(
      comm_, grid_, batches_, {hidden_[0], hidden_[1], hidden_[2]}, board,
      [&](const Batch& batch, const Tensor& out) {
        ops::embed(context_, batch.tokens, stage_.embedding, out);
      },
      [&](const Batch& batch, const Tensor& hidden) {
        const NumberedBatch& numbered = batches[next++];
        if (!last) wait(hidden);
        run_layers(batch, hidden);
        check_finite(hidden);
        progress.advance();
        if (!last) return;
        const Tensor d_hidden = first_rows(d_hidden_, hidden.rows());
        for (std::int64_t sample = 0; sample < how_.samples; ++sample) {
          gradient_of_sample(numbered, sample, hidden, d_hidden);
          back_through_layers(batch, d_hidden, sample == 0);
          if (!first) wait(d_hidden);
        }
      });
}

void GradientCollector::go_down(FailureBoard& board) {
  if (!shards_.alone() || grid_.stages() == 1) return;
  const auto samples = static_cast<std::size_t>(how_.samples);
  std::vector<Batch> of_samples;
  for (const Batch& batch : batches_) of_samples.insert(of_samples.end(), samples, batch);
  std::size_t next = 0;
  stream_batches(
      comm_, grid_, of_samples, {hidden_[0], hidden_[1], hidden_[2]}, board,
      [&](const Batch&, const Tensor& out) { copy_values(waiting_[next], out); },
      [&](const Batch& batch, const Tensor& d_hidden) {
        const std::size_t at = next++;
        if (head_) return;  // on the last stage it is done
        if (at % samples == 0) {
          const Tensor hidden = first_rows(again_, d_hidden.rows());
          copy_values(waiting_[at / samples], hidden);
          run_layers(batch, hidden);
        }
        back_through_layers(batch, d_hidden, at % samples == 0);
      },
      HandOver::automatic, Direction::backward);
}

}  // namespace galapagos
