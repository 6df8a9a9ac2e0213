#include <algorithm>

#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/mixture_steps.hpp>
#include <galapagos/ops/grouped.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/mixture.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {

std::int64_t ffn_width(const HfConfig& config, const LayerShape& shape) {
  if (!shape.mixture()) return shape.columns;
  const std::int64_t each = std::min(config.mixture->experts_per_token, std::ssize(shape.experts));
  return each * *std::ranges::max_element(shape.experts);
}

MixtureSteps::MixtureSteps(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                           const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      logits_({most_tokens, config.mixture->experts}, DType::f32, context.device(), "logits of a router"),
      rows_({most_tokens * config.mixture->experts_per_token, config.hidden_size}, context.activations(),
            context.device(), "activations of experts"),
      d_weights_({most_tokens * config.mixture->experts_per_token}, DType::f32, context.device(),
                 "gradients by a router's weights") {}

std::vector<Tensor> MixtureSteps::weights_of(const FfnWeights& weights, OwnedTensor ExpertWeights::*tensor) {
  std::vector<Tensor> all;
  for (const auto& expert : weights.experts) all.push_back((*expert).*tensor);
  return all;
}

void MixtureSteps::gate_and_up(const FfnWeights& weights, const Tensor& normed, Routing& routing,
                               const Tensor& gate, const Tensor& up) {
  const Tensor logits = logits_->view({normed.rows(), std::ssize(weights.experts)});
  ops::linear(context_, normed, weights.router, nullptr, logits);
  std::vector<std::int64_t> columns;
  for (const auto& expert : weights.experts) columns.push_back(expert->columns);
  ops::route(context_, logits, routing_rule(*config_.mixture), columns, routing);
  const Tensor x = rows_of(routing);
  ops::gather_routed(context_, normed, routing, x);
  const ops::GroupedProduct products[] = {{weights_of(weights, &ExpertWeights::gate), gate},
                                          {weights_of(weights, &ExpertWeights::up), up}};
  ops::grouped_linear(context_, x, routing.layout.rows, products);
}

void MixtureSteps::show(const ExpertTap& tap, const Routing& routing, const Tensor& all,
                        std::span<const std::int64_t> columns) const {
  if (!tap) return;
  const OnHost<float> weights(routing.weights, routing.layout.count());
  const Tensor values = all.view({all.elements()});
  std::int64_t first = 0;
  for (std::int64_t expert = 0; expert < routing.layout.experts(); ++expert) {
    const auto at = static_cast<std::size_t>(expert);
    const std::int64_t rows = routing.layout.rows_of(expert);
    if (rows == 0) continue;
    tap(expert,
        weights.values().subspan(static_cast<std::size_t>(routing.layout.rows[at]),
                                 static_cast<std::size_t>(rows)),
        values.slice(first, rows * columns[at]).view({rows, columns[at]}));
    first += rows * columns[at];
  }
}

void MixtureSteps::activate(const Routing& routing, const Tensor& gate, const Tensor& up, const Tensor& out,
                            const ExpertTap& tap) {
  ops::routed_swiglu(context_, gate, up, routing, out, gate_kind(config_));
  show(tap, routing, out, routing.layout.columns);
}

void MixtureSteps::add_output(const FfnWeights& weights, const Routing& routing, const Tensor& active,
                              const Tensor& hidden, const Tensor& room, const ExpertTap& tap) {
  const Tensor rows = rows_of(routing);
  const ops::GroupedProduct product{weights_of(weights, &ExpertWeights::down), rows};
  ops::grouped_linear(context_, active, routing.layout.rows, {&product, 1});
  show(tap, routing, rows, std::vector(weights.experts.size(), config_.hidden_size));
  if (!shards_.alone() && room.dtype == DType::bf16) {
    ops::sum_rows(context_, rows, routing, room);
    shards_.sum(room);
    return ops::add(context_, room, hidden);
  }
  // As for a product: one shard adds its part to what is there, the others put theirs in its place.
  ops::sum_rows(context_, rows, routing, hidden, shards_.is_root());
  shards_.sum(hidden);
}

}  // namespace galapagos
