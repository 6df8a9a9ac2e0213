#include "gradient_collector.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/model/embedding.hpp>
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
      dense_config_(dense != nullptr ? std::optional(dense->config) : std::nullopt),
      exact_(context.exact()),
      buffers_(context, config_, dense_config_ ? &*dense_config_ : nullptr, stage_.span, modules, shards,
               how) {
  if (buffers_.directions) {
    copy_values(sketch_matrix(how.seed, how.rank, config_.hidden_size), buffers_.directions->matrix);
  }
  for (std::int64_t layer = stage_.span.first; dense != nullptr && layer < stage_.span.last; ++layer)
    dense_layers_.push_back(dense->layer(layer));
  if (stage_.span.last == config_.layers) head_.emplace(source.head());
}

std::uint64_t GradientCollector::bytes(const HfConfig& config, const HfConfig* dense, DType precision,
                                       const LayerSpan& span, std::span<const ModuleId> modules,
                                       bool one_stage, const GradientGathering& how) {
  const bool last = span.last == config.layers;
  const ops::Context context = ops::Context::planned(how.device, how.activations);
  std::uint64_t bytes =
      bytes_held([&] { return GradientBuffers(context, config, dense, span, modules, alone(), how); });
  std::int64_t weights = last ? embedding_parameters(config) : 0;  // a tied head is a copy
  if (dense != nullptr) {
    for (std::int64_t layer = span.first; layer < span.last; ++layer)
      weights += layer_parameters(*dense, dense->shape(layer));
    if (last) {
      bytes += bytes_held(
          [&] { return logits_scratch(context, *dense, ops::logit_tile(how.device, how.most_tokens)); });
    }
  }
  bytes +=
      stage_weight_bytes(config, span, precision) + static_cast<std::uint64_t>(weights) * size_of(precision);
  // On the host, between the way up and the way down.
  const std::int64_t ways = how.samples + (dense != nullptr ? 1 : 0), answers = last && dense != nullptr;
  const std::int64_t waiting = (one_stage ? 0 : last ? ways : 1) + answers;
  return bytes + static_cast<std::uint64_t>(how.window_tokens * waiting * config.hidden_size) * sizeof(float);
}

void GradientCollector::check_finite(const Tensor& hidden) const {
  if (ops::all_finite(context_, hidden)) return;
  throw NumericalError("activations or gradients became NaN or infinite",
                       fmt::format("layers {} to {}", stage_.span.first, stage_.span.last - 1),
                       "check the checkpoint, or use --precision fp32");
}

void GradientCollector::run_layers(const Batch& batch, const Tensor& hidden) {
  for (std::size_t i = 0; i < stage_.layers.size(); ++i) {
    const LayerTape& tape = buffers_.tapes[how_.recompute ? 0 : i];
    copy_values(hidden, first_rows(buffers_.before[i], hidden.rows()));
    buffers_.layers.fill_tape(stage_.layers[i], batch.offsets, tape, hidden);
    buffers_.layers.finish(stage_.layers[i], tape, hidden);
  }
}

void GradientCollector::run_dense(const Batch& batch, const Tensor& hidden) {
  for (const LayerWeights& layer : dense_layers_) buffers_.dense->layers.run(layer, batch.offsets, hidden);
}

void GradientCollector::begin_way_back(const NumberedBatch& batch, std::size_t way, const Tensor& hidden,
                                       const Tensor& answer, const Tensor& d_hidden) {
  if (of_divergence(way)) return gradient_of_divergence(hidden, answer, d_hidden);
  gradient_of_sample(batch, static_cast<std::int64_t>(way) - (buffers_.dense ? 1 : 0), hidden, d_hidden);
}

void GradientCollector::gradient_of_divergence(const Tensor& hidden, const Tensor& answer,
                                               const Tensor& d_hidden) {
  std::vector<double> found;
  fill_zero(d_hidden);
  buffers_.output->run(head_->norm, head_->head, hidden, d_hidden,
                       [&](std::int64_t first, const Tensor& logits) {
                         const std::int64_t rows = logits.rows();
                         compute_logits(context_, config_, *head_, answer.slice(first, rows),
                                        buffers_.losses->reference(rows));
                         buffers_.losses->take_reference(rows);
                         found.resize(static_cast<std::size_t>(rows));
                         buffers_.losses->divergence(logits, found);
                         buffers_.losses->divergence_backward(std::vector<float>(found.size(), 1.0f), logits);
                         return 0.0;
                       },
                       {});
}

void GradientCollector::gradient_of_sample(const NumberedBatch& numbered, std::int64_t sample,
                                           const Tensor& hidden, const Tensor& d_hidden) {
  std::vector<double> uniforms;
  std::vector<std::int32_t> ids;
  fill_zero(d_hidden);
  buffers_.output->run(
      head_->norm, head_->head, hidden, d_hidden,
      [&](std::int64_t first, const Tensor& logits) {
        const auto rows = static_cast<std::size_t>(logits.rows());
        uniforms.clear();
        for (std::size_t row = 0; row < rows; ++row) {
          uniforms.push_back(
              uniform(how_.seed, numbered.first_token + static_cast<std::uint64_t>(first) + row, sample));
        }
        ids.resize(rows);
        buffers_.losses->draw(logits, uniforms, ids);
        buffers_.losses->nll_backward(ids, std::vector<float>(rows, 1.0f), logits);
        return 0.0;
      },
      {});
}

void GradientCollector::add_first_order(const ModuleId& module, const Batch& batch, const Tensor& before,
                                        const Tensor& gradient) {
  const Tensor states = first_rows(buffers_.again, before.rows());
  copy_values(before, states);
  const LayerWeights& layer = dense_layers_[static_cast<std::size_t>(module.layer - stage_.span.first)];
  const auto tap = [&, &sum = buffers_.first_orders.at(module)](const Tensor& input) {
    ops::linear_weight_gradient(exact_, input, gradient, sum);
  };
  if (module.kind == ModuleKind::attention) {
    buffers_.dense->layers.attention(layer.attention, batch.offsets, states, tap);
  } else {
    buffers_.dense->layers.feed_forward(layer.ffn, states, tap);
  }
}

void GradientCollector::back_through_layers(const Batch& batch, const Tensor& d_hidden, std::size_t way) {
  const auto tap = [&](const ModuleId& module, const Tensor& before) -> std::function<void(const Tensor&)> {
    if (of_divergence(way))
      return [=, this, &batch](const Tensor& gradient) { add_first_order(module, batch, before, gradient); };
    const auto found = buffers_.sums.find(module);
    if (found == buffers_.sums.end()) return {};
    return [&sum = found->second](const Tensor& gradient) { sum.add(gradient); };
  };
  for (std::size_t i = stage_.layers.size(); i-- > 0;) {
    const std::int64_t layer = stage_.span.first + static_cast<std::int64_t>(i);
    const Tensor before = first_rows(buffers_.before[i], d_hidden.rows());
    const LayerTape& tape = buffers_.tapes[how_.recompute ? 0 : i];
    if (how_.recompute) {
      const Tensor again = first_rows(buffers_.again, d_hidden.rows());
      copy_values(before, again);
      buffers_.layers.fill_tape(stage_.layers[i], batch.offsets, tape, again);
    } else if (way > 0) {
      buffers_.layers.refill_tape(stage_.layers[i], tape, d_hidden.rows());
    }
    buffers_.layers.backward(stage_.layers[i], batch.offsets, tape, before, d_hidden, {},
                             {tap({layer, ModuleKind::attention}, before),
                              tap({layer, ModuleKind::ffn}, first_rows(tape.between, d_hidden.rows()))});
  }
}

void GradientCollector::go_on_shards(std::span<const NumberedBatch> batches, FailureBoard& board) {
  Progress progress("batches", static_cast<std::int64_t>(batches.size()));
  for (const NumberedBatch& numbered : batches) {
    const auto tokens = static_cast<std::int64_t>(numbered.batch.tokens.size());
    const Tensor hidden = first_rows(buffers_.hidden[0], tokens),
                 d_hidden = first_rows(buffers_.d_hidden, tokens);
    if (shards_.root_says(board.failed())) return;
    const Tensor answer = buffers_.dense ? first_rows(buffers_.dense->hidden[0], tokens) : Tensor();
    shards_.run([&] {
      if (buffers_.dense) {
        embed_tokens(context_, config_, shards_, numbered.batch.tokens, stage_.embedding, answer);
        run_dense(numbered.batch, answer);
      }
      embed_tokens(context_, config_, shards_, numbered.batch.tokens, stage_.embedding, hidden);
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
  if (!buffers_.dense) return;
  stream_batches(
      comm_, grid_, batches_, {buffers_.hidden[0], buffers_.hidden[1], buffers_.hidden[2]}, board,
      [&](const Batch& batch, const Tensor& out) {
        embed_tokens(context_, config_, alone(), batch.tokens, stage_.embedding, out);
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
      comm_, grid_, batches_, {buffers_.hidden[0], buffers_.hidden[1], buffers_.hidden[2]}, board,
      [&](const Batch& batch, const Tensor& out) {
        embed_tokens(context_, config_, alone(), batch.tokens, stage_.embedding, out);
      },
      [&](const Batch& batch, const Tensor& hidden) {
        const std::size_t at = next++;
        if (!last) wait(hidden);
        run_layers(batch, hidden);
        check_finite(hidden);
        progress.advance();
        if (!last) return;
        const Tensor d_hidden = first_rows(buffers_.d_hidden, hidden.rows());
        const Tensor answer =
            buffers_.dense ? first_rows(buffers_.dense->hidden[0], hidden.rows()) : Tensor();
        if (buffers_.dense) copy_values(answers_[at], answer);
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
      comm_, grid_, of_ways, {buffers_.hidden[0], buffers_.hidden[1], buffers_.hidden[2]}, board,
      [&](const Batch&, const Tensor& out) { copy_values(waiting_[next], out); },
      [&](const Batch& batch, const Tensor& d_hidden) {
        const std::size_t at = next++, way = at % ways();
        if (head_) return;  // on the last stage it is done
        if (way == 0) {
          const Tensor hidden = first_rows(buffers_.again, d_hidden.rows());
          copy_values(waiting_[at / ways()], hidden);
          run_layers(batch, hidden);
        }
        back_through_layers(batch, d_hidden, way);
      },
      HandOver::automatic, Direction::backward);
}

}  // namespace galapagos
