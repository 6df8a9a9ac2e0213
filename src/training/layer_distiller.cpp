#include "layer_distiller.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <numeric>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/ops/adamw.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {
namespace {

constexpr std::uint8_t update_order = 17;  // apart from a sampler's draws

}  // namespace

DistilBuffers::DistilBuffers(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens)
    : pass(context, config, most_tokens),
      forward(context, config, most_tokens),
      before(hidden_states(context, config, most_tokens)),
      states(hidden_states(context, config, most_tokens)),
      error(hidden_states(context, config, most_tokens)),
      weighed(hidden_states(context, config, most_tokens)) {}

LayerDistiller::LayerDistiller(const ops::Context& context, const HfConfig& config, const DistilText& text,
                               std::int64_t most_tokens, Collectives& replicas, DType precision,
                               const Schedule& schedule, const AdamWOptions& adamw, std::uint64_t seed)
    : context_(context),
      config_(config),
      text_(text),
      most_tokens_(most_tokens),
      replicas_(replicas),
      precision_(precision),
      schedule_(schedule),
      adamw_(adamw),
      seed_(seed),
      exact_(context.exact()),
      buffers_(context, config, most_tokens) {}

std::uint64_t LayerDistiller::bytes(const HfConfig& config, std::int64_t most_tokens, DType activations) {
  // A CPU would have them in fp32, whatever is asked for.
  const ops::Context context = ops::Context::planned(Device::cuda, activations);
  // The root of a sensitivity, what it was made from, and its transpose.
  const std::int64_t metric = 3 * config.hidden_size * config.hidden_size;
  return bytes_held([&] { return DistilBuffers(context, config, most_tokens); }) +
         static_cast<std::uint64_t>(metric) * sizeof(float);
}

std::uint64_t LayerDistiller::training_bytes(const HfConfig& config, std::int64_t most_tokens, int ranks,
                                             DType activations) {
  const ops::Context context = ops::Context::planned(Device::cuda, activations);
  std::uint64_t most = 0;
  for (const LayerShape& shape : config.layer_shapes) {
    const std::int64_t parameters = layer_parameters(config, shape);
    // Beside the state of AdamW gradients, and the layer that is returned.
    most = std::max(most, bytes_held([&] { return LayerTape(context, config, shape, most_tokens); }) +
                              static_cast<std::uint64_t>(2 * parameters) * sizeof(float) +
                              ShardedAdamW::bytes(parameters, ranks));
  }
  return most;
}

Tensor LayerDistiller::states_of(const OwnedTensor& buffer, std::size_t batch) const {
  return buffer->slice(0, static_cast<std::int64_t>(text_.batches[batch].tokens.size()));
}

/// The sum of e^T M e over the rows of `error`, which become scale M e.
double LayerDistiller::weigh(const Tensor& error, const ErrorMetric& metric, float scale) {
  if (metric.sensitivity.root->empty()) {
    const double sum = ops::sum_of_squares(context_, error);
    ops::combine(context_, scale, error, 0, error);
    return sum;
  }
  const Tensor weighed = buffers_.weighed->slice(0, error.rows());
  ops::linear(exact_, error, metric.sensitivity.root, nullptr, weighed);
  const double sum = ops::sum_of_squares(context_, weighed);
  ops::linear(exact_, weighed, metric.transposed, nullptr, error);
  ops::combine(context_, scale, error, 0, error);
  return sum;
}

double LayerDistiller::errors_of(const LayerWeights& weights, std::size_t first, std::size_t last,
                                 const ResidualStream& inputs, const ResidualStream& targets,
                                 const ErrorMetric& metric) {
  double sum = 0;
  for (std::size_t b = first; b < last; ++b) {
    const Tensor states = states_of(buffers_.states, b), error = states_of(buffers_.error, b);
    inputs.load(b, states);
    targets.load(b, error);
    buffers_.forward.run(weights, text_.batches[b].offsets, states);
    ops::combine(context_, 1, states, -1, error);
    sum += weigh(error, metric, 1);
  }
  return sum;
}

LayerErrors LayerDistiller::errors(const LayerWeights& weights, const ResidualStream& inputs,
                                   const ResidualStream& targets, const ErrorMetric& metric) {
  const std::size_t fitted = text_.updates.back();
  std::array<double, 2> sums{};
  agree(replicas_.ranks(), [&] {
    sums = {errors_of(weights, 0, fitted, inputs, targets, metric),
            errors_of(weights, fitted, text_.batches.size(), inputs, targets, metric)};
  });
  const auto mean = [&](double sum, std::int64_t tokens) {
    return replicas_.ranks().broadcast_value(replicas_.ranks().sum(sum)) /
           static_cast<double>(tokens * config_.hidden_size);
  };
  return {mean(sums[0], text_.fitted_tokens), mean(sums[1], text_.held_tokens)};
}

void LayerDistiller::add_gradient(const ModelWeights& weights, std::size_t batch, float scale,
                                  const LayerTape& tape, const ResidualStream& inputs,
                                  const ResidualStream& targets, const ErrorMetric& metric,
                                  const Gradients& gradients) {
  const LayerWeights& layer = weights.layers[0];
  const std::span<const std::int64_t> offsets = text_.batches[batch].offsets;
  const Tensor before = states_of(buffers_.before, batch), states = states_of(buffers_.states, batch),
               error = states_of(buffers_.error, batch);
  inputs.load(batch, before);
  copy_values(before, states);
  targets.load(batch, error);
  buffers_.pass.fill_tape(layer, offsets, tape, states);
  buffers_.pass.finish(layer, tape, states);
  ops::combine(context_, 1, states, -1, error);
  weigh(error, metric, scale);
  buffers_.pass.backward(layer, offsets, tape, before, error, gradients.layer(0));
}

std::optional<OwnedTensor> LayerDistiller::train(const ModelWeights& weights, std::int64_t number,
                                                 const ResidualStream& inputs, const ResidualStream& targets,
                                                 const ErrorMetric& metric,
                                                 const std::function<bool()>& stop) {
  const Communicator& comm = replicas_.ranks();
  std::optional<Gradients> gradients;
  std::optional<LayerTape> tape;
  agree(comm, [&] {
    gradients.emplace(weights, context_.device());
    tape.emplace(context_, config_, config_.layer_shapes[static_cast<std::size_t>(number)], most_tokens_);
  });
  ShardedAdamW optimiser(replicas_, context_, weights, precision_, adamw_);
  std::vector<std::size_t> order(text_.update_tokens.size());
  for (std::int64_t step = 0; step < schedule_.steps; ++step) {
    if (comm.any(stop())) return std::nullopt;
    const std::size_t at = static_cast<std::size_t>(step) % order.size();
    if (at == 0) {
      std::iota(order.begin(), order.end(), std::size_t{0});
      const auto epoch = static_cast<std::uint32_t>(static_cast<std::size_t>(step) / order.size());
      RandomStream(seed_, {0, epoch, 0, update_order}).shuffle(order, order.size());
    }
    const std::size_t update = order[at];
    const double scale = 2.0 / static_cast<double>(text_.update_tokens[update]);
    agree(comm, [&] {
      for (std::size_t b = text_.updates[update]; b < text_.updates[update + 1]; ++b)
        add_gradient(weights, b, static_cast<float>(scale), *tape, inputs, targets, metric, *gradients);
    });
    if (comm.any(!optimiser.step_unclipped(*gradients, schedule_.at(step)))) {
      agree(comm, [&] {
        throw NumericalError(fmt::format("a gradient is not finite at update {}", step + 1),
                             fmt::format("layer {}", number), "use a smaller --learning-rate");
      });
    }
  }
  optimiser.gather_master(*gradients);
  return agree_on(comm, [&] { return copy_of(gradients->all(), context_.device(), "a trained layer"); });
}

}  // namespace galapagos
