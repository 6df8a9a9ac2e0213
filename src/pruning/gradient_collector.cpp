#include "gradient_collector.hpp"

#include <fmt/format.h>
#include <tuple>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/model/logit_tiles.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/sketch.hpp>
#include <galapagos/tensor/memory_count.hpp>

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
                                     const ModelSource& source, const ModelSource* dense,
                                     std::span<const ModuleId> modules, const PipelineGrid& grid,
                                     int rank_in_grid, const Shards& shards, const GradientGathering& how)
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
  if (how.form == SensitivityForm::lowrank) {
    directions_.emplace(SketchDirections{
        ops::Context(context.device()),
        copy_of(sketch_matrix(how.seed, how.rank, config_.hidden_size), context.device(), "a sketch"),
        OwnedTensor({how.most_tokens, how.rank}, DType::f32, context.device(), "a sketch")});
  }
  for (const ModuleId& module : modules) {
    if (module.layer < stage_.span.first || module.layer >= stage_.span.last) continue;
    sums_.emplace(
        std::piecewise_construct, std::forward_as_tuple(module),
        std::forward_as_tuple(context, how.form, config_.hidden_size, directions_ ? &*directions_ : nullptr,
                              "the sensitivity of " + name_of(module)));
  }
  for (std::int64_t layer = stage_.span.first; layer < stage_.span.last; ++layer) {
    before_.push_back(states());
    if (!how.recompute) tapes_.emplace_back(context, config_, config_.shape(layer), how.most_tokens);
  }
  if (how.recompute) tapes_.emplace_back(context, config_, widest_shape(config_), how.most_tokens);
  for (OwnedTensor& buffer : hidden_) buffer = states();
  again_ = states();
  d_hidden_ = states();
  if (dense != nullptr) {
    dense_.emplace(Dense{
        {}, {context, dense->config, how.most_tokens, shards}, ops::Context(context.device()), states()});
    for (std::int64_t layer = stage_.span.first; layer < stage_.span.last; ++layer) {
      dense_->layers.push_back(dense->layer(layer));
      for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
        const ModuleId module{layer, kind};
        OwnedTensor sum({module_columns(dense->config, module), config_.hidden_size}, DType::f32,
                        context.device(), "the first order of " + name_of(module));
        fill_zero(sum);
        first_orders_.emplace(module, std::move(sum));
      }
    }
  }
  if (stage_.span.last < config_.layers) return;
  head_.emplace(source.head());
  output_.emplace(context, config_, how.most_tokens, shards);
  losses_.emplace(context, shards, ops::logit_tile(context.device(), how.most_tokens), config_.vocab_size,
                  dense != nullptr);
}

std::uint64_t GradientCollector::bytes(const HfConfig& config, const HfConfig* dense, DType precision,
                                       const LayerSpan& span, bool one_stage, const GradientGathering& how) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden_size);
  const ops::Context context = ops::Context::planned(how.device, how.activations);
  const auto tape = [&](const LayerShape& shape) {
    return bytes_held([&] { return LayerTape(context, config, shape, how.most_tokens); });
  };
  std::uint64_t bytes =
      stage_weight_bytes(config, span, precision) +
      static_cast<std::uint64_t>((span.count() + 5) * how.most_tokens) * hidden * sizeof(float) +
      bytes_held([&] { return LayerPass(context, config, how.most_tokens); });
  if (how.recompute) bytes += tape(widest_shape(config));
  for (std::int64_t layer = span.first; layer < span.last && !how.recompute; ++layer)
    bytes += tape(config.shape(layer));
  if (span.last == config.layers) {
    bytes += static_cast<std::uint64_t>(config.vocab_size * config.hidden_size) * size_of(precision) +
             bytes_held([&] { return OutputPass(context, config, how.most_tokens); });
  }
  // What waits on the host between the way up and the way down, and the sums: as they are, and packed.
  const bool last = span.last == config.layers;
  const std::int64_t ways = how.samples + (dense != nullptr ? 1 : 0), answers = last && dense != nullptr;
  const std::int64_t waiting = (one_stage ? 0 : last ? ways : 1) + answers;
  bytes += static_cast<std::uint64_t>(how.window_tokens * waiting) * hidden * sizeof(float);
  const auto modules = static_cast<std::uint64_t>(2 * span.count());
  bytes += modules * CurvatureSum::bytes(how.form, config.hidden_size, how.rank) +
           CurvatureSum::shared_bytes(how.form, config.hidden_size, how.rank, how.most_tokens);
  if (dense == nullptr) return bytes;
  bytes += activation_bytes(*dense, how.most_tokens, how.activations);
  if (last) {
    const std::int64_t tile = ops::logit_tile(how.device, how.most_tokens);
    bytes += static_cast<std::uint64_t>(tile * (dense->vocab_size + dense->hidden_size)) * sizeof(float);
  }
  for (std::int64_t layer = span.first; layer < span.last; ++layer) {
    bytes += static_cast<std::uint64_t>(layer_parameters(*dense, dense->shape(layer))) * size_of(precision);
    // On the device, packed, and the sums of all lanes.
    for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn})
      bytes += 2 * static_cast<std::uint64_t>(module_columns(*dense, {layer, kind})) * hidden * sizeof(float);
  }
  return bytes;
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

void GradientCollector::run_dense(const Batch& batch, const Tensor& hidden) {
  for (const LayerWeights& layer : dense_->layers) dense_->forward.run(layer, batch.offsets, hidden);
}

void GradientCollector::begin_way_back(const NumberedBatch& batch, std::size_t way, const Tensor& hidden,
                                       const Tensor& answer, const Tensor& d_hidden) {
  if (of_divergence(way)) return gradient_of_divergence(hidden, answer, d_hidden);
  gradient_of_sample(batch, static_cast<std::int64_t>(way) - (dense_ ? 1 : 0), hidden, d_hidden);
}

void GradientCollector::gradient_of_divergence(const Tensor& hidden, const Tensor& answer,
                                               const Tensor& d_hidden) {
  std::vector<double> found;
  fill_zero(d_hidden);
  output_->run(head_->norm, head_->head, hidden, d_hidden,
               [&](std::int64_t first, const Tensor& logits) {
                 const std::int64_t rows = logits.rows();
                 compute_logits(context_, config_, *head_, answer.slice(first, rows),
                                losses_->reference(rows));
                 losses_->take_reference(rows);
                 found.resize(static_cast<std::size_t>(rows));
                 losses_->divergence(logits, found);
                 losses_->divergence_backward(std::vector<float>(found.size(), 1.0f), logits);
                 return 0.0;
               },
               {});
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

void GradientCollector::add_first_order(const ModuleId& module, const Batch& batch, const Tensor& before,
                                        const Tensor& gradient) {
  const Tensor states = first_rows(again_, before.rows());
  copy_values(before, states);
  const LayerWeights& layer = dense_->layers[static_cast<std::size_t>(module.layer - stage_.span.first)];
  const auto tap = [&, &sum = first_orders_.at(module)](const Tensor& input) {
    ops::linear_weight_gradient(dense_->exact, input, gradient, sum);
  };
  if (module.kind == ModuleKind::attention) {
    dense_->forward.attention(layer.attention, batch.offsets, states, tap);
  } else {
    dense_->forward.feed_forward(layer.ffn, states, tap);
  }
}

void GradientCollector::back_through_layers(const Batch& batch, const Tensor& d_hidden, std::size_t way) {
  const auto tap = [&](const ModuleId& module, const Tensor& before) -> std::function<void(const Tensor&)> {
    if (of_divergence(way))
      return [=, this, &batch](const Tensor& gradient) { add_first_order(module, batch, before, gradient); };
    const auto found = sums_.find(module);
    if (found == sums_.end()) return {};
    return [&sum = found->second](const Tensor& gradient) { sum.add(gradient); };
  };
  for (std::size_t i = stage_.layers.size(); i-- > 0;) {
    const std::int64_t layer = stage_.span.first + static_cast<std::int64_t>(i);
    const Tensor before = first_rows(before_[i], d_hidden.rows());
    const LayerTape& tape = tapes_[how_.recompute ? 0 : i];
    if (how_.recompute) {
      const Tensor again = first_rows(again_, d_hidden.rows());
      copy_values(before, again);
      layers_.fill_tape(stage_.layers[i], batch.offsets, tape, again);
    } else if (way > 0) {
      layers_.refill_tape(stage_.layers[i], tape, d_hidden.rows());
    }
    layers_.backward(stage_.layers[i], batch.offsets, tape, before, d_hidden, {},
                     {tap({layer, ModuleKind::attention}, before),
                      tap({layer, ModuleKind::ffn}, first_rows(tape.between, d_hidden.rows()))});
  }
}

void GradientCollector::go_on_shards(std::span<const NumberedBatch> batches, FailureBoard& board) {
  Progress progress("batches", static_cast<std::int64_t>(batches.size()));
  for (const NumberedBatch& numbered : batches) {
    const auto tokens = static_cast<std::int64_t>(numbered.batch.tokens.size());
    const Tensor hidden = first_rows(hidden_[0], tokens), d_hidden = first_rows(d_hidden_, tokens);
    if (shards_.root_says(board.failed())) return;
    const Tensor answer = dense_ ? first_rows(dense_->answer, tokens) : Tensor();
    shards_.run([&] {
      if (dense_) {
        embed_tokens(context_, shards_, numbered.batch.tokens, stage_.embedding, answer);
        run_dense(numbered.batch, answer);
      }
      embed_tokens(context_, shards_, numbered.batch.tokens, stage_.embedding, hidden);
      run_layers(numbered.batch, hidden);
    });
    if (shards_.is_root()) board.attempt([&] { check_finite(hidden); });  // all shards have the same states
    if (shards_.root_says(board.failed())) return;
    shards_.run([&] {
      for (std::size_t way = 0; way < ways(); ++way) {
        begin_way_back(numbered, way, hidden, answer, d_hidden);
        back_through_layers(numbered.batch, d_hidden, way);
      }
    });
    progress.advance();
  }
}

void GradientCollector::wait(const Tensor& states) {
  waiting_.push_back(copy_of(states, Device::cpu, "hidden states that wait"));
}

/// The way of the unpruned model, whose last states wait for the other's.
void GradientCollector::go_up_dense(FailureBoard& board) {
  answers_.clear();
  if (!dense_) return;
  stream_batches(
      comm_, grid_, batches_, {hidden_[0], hidden_[1], hidden_[2]}, board,
      [&](const Batch& batch, const Tensor& out) {
        ops::embed(context_, batch.tokens, stage_.embedding, out);
      },
      [&](const Batch& batch, const Tensor& hidden) {
        run_dense(batch, hidden);
        if (head_) answers_.push_back(copy_of(hidden, Device::cpu, "hidden states that wait"));
      });
}

void GradientCollector::go_up(std::span<const NumberedBatch> batches, FailureBoard& board) {
  if (!shards_.alone()) return go_on_shards(batches, board);
  const bool first = stage_.span.first == 0, last = head_.has_value();
  waiting_.clear();
  batches_.clear();
  for (const NumberedBatch& numbered : batches) batches_.push_back(numbered.batch);
  go_up_dense(board);
  Progress progress("batches", static_cast<std::int64_t>(batches.size()));
  std::size_t next = 0;
  stream_batches(
      comm_, grid_, batches_, {hidden_[0], hidden_[1], hidden_[2]}, board,
      [&](const Batch& batch, const Tensor& out) {
        ops::embed(context_, batch.tokens, stage_.embedding, out);
      },
      [&](const Batch& batch, const Tensor& hidden) {
        const std::size_t at = next++;
        if (!last) wait(hidden);
        run_layers(batch, hidden);
        check_finite(hidden);
        progress.advance();
        if (!last) return;
        const Tensor d_hidden = first_rows(d_hidden_, hidden.rows());
        const Tensor answer = dense_ ? first_rows(dense_->answer, hidden.rows()) : Tensor();
        if (dense_) copy_values(answers_[at], answer);
        for (std::size_t way = 0; way < ways(); ++way) {
          begin_way_back(batches[at], way, hidden, answer, d_hidden);
          back_through_layers(batch, d_hidden, way);
          if (!first) wait(d_hidden);
        }
      });
}

void GradientCollector::go_down(FailureBoard& board) {
  if (!shards_.alone() || grid_.stages() == 1) return;
  std::vector<Batch> of_ways;
  for (const Batch& batch : batches_) of_ways.insert(of_ways.end(), ways(), batch);
  std::size_t next = 0;
  stream_batches(
      comm_, grid_, of_ways, {hidden_[0], hidden_[1], hidden_[2]}, board,
      [&](const Batch&, const Tensor& out) { copy_values(waiting_[next], out); },
      [&](const Batch& batch, const Tensor& d_hidden) {
        const std::size_t at = next++, way = at % ways();
        if (head_) return;  // on the last stage it is done
        if (way == 0) {
          const Tensor hidden = first_rows(again_, d_hidden.rows());
          copy_values(waiting_[at / ways()], hidden);
          run_layers(batch, hidden);
        }
        back_through_layers(batch, d_hidden, way);
      },
      HandOver::automatic, Direction::backward);
}

}  // namespace galapagos
