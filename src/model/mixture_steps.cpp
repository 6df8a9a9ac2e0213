#include <algorithm>

#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/mixture_steps.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {

std::int64_t ffn_width(const HfConfig& config, const LayerShape& shape) {
  if (!shape.mixture()) return shape.columns;
  const std::int64_t each = std::min(config.mixture->experts_per_token, std::ssize(shape.experts));
  return each * *std::ranges::max_element(shape.experts);
}

namespace {

std::span<const float> weights_of(const Routing& routing, std::int64_t first, std::int64_t count) {
  return std::span(routing.weights).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
}

}  // namespace

MixtureSteps::MixtureSteps(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                           const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      logits_({most_tokens, config.mixture->experts}, DType::f32, context.device(), "logits of a router"),
      rows_({most_tokens * config.mixture->experts_per_token, config.hidden_size}, context.activations(),
            context.device(), "activations of experts") {}

Tensor MixtureSteps::rows_of(std::int64_t first, std::int64_t count) const {
  return rows_->slice(first, count);
}

Tensor MixtureSteps::part_of(const Tensor& all, std::int64_t first_element, std::int64_t rows,
                             std::int64_t columns) {
  return all.view({all.elements()}).slice(first_element, rows * columns).view({rows, columns});
}

void MixtureSteps::for_experts(
    const FfnWeights& weights, const Routing& routing,
    const std::function<void(std::size_t expert, std::int64_t first, std::int64_t count,
                             std::int64_t first_element)>& work) const {
  const std::vector<std::int64_t> first = routing.layout.first_elements();
  for (std::size_t expert = 0; expert < weights.experts.size(); ++expert) {
    const std::int64_t count = routing.layout.rows_of(static_cast<std::int64_t>(expert));
    if (count > 0) work(expert, routing.layout.rows[expert], count, first[expert]);
  }
}

void MixtureSteps::gate_and_up(const FfnWeights& weights, const Tensor& normed, Routing& routing,
                               const Tensor& gate, const Tensor& up) {
  const Tensor logits = logits_->view({normed.rows(), std::ssize(weights.experts)});
  ops::linear(context_, normed, weights.router, nullptr, logits);
  std::vector<std::int64_t> columns;
  for (const auto& expert : weights.experts) columns.push_back(expert->columns);
  routing = route(logits, *config_.mixture, columns);
  ops::gather_rows(context_, normed, routing.tokens, rows_of(0, routing.layout.count()));
  for_experts(weights, routing,
              [&](std::size_t expert, std::int64_t first, std::int64_t count, std::int64_t first_element) {
                const ExpertWeights& own = *weights.experts[expert];
                const ops::Factor x(rows_of(first, count));
                ops::linear(context_, x, own.gate, nullptr, part_of(gate, first_element, count, own.columns));
                ops::linear(context_, x, own.up, nullptr, part_of(up, first_element, count, own.columns));
              });
}

void MixtureSteps::activate(const Routing& routing, const Tensor& gate, const Tensor& up, const Tensor& out,
                            const ExpertTap& tap) {
  ops::routed_swiglu(context_, gate, up, routing.weights, routing.layout, out, gate_kind(config_));
  if (!tap) return;
  const std::vector<std::int64_t> first = routing.layout.first_elements();
  for (std::int64_t expert = 0; expert < routing.layout.experts(); ++expert) {
    const std::int64_t count = routing.layout.rows_of(expert);
    const auto at = static_cast<std::size_t>(expert);
    if (count > 0)
      tap(expert, weights_of(routing, routing.layout.rows[at], count),
          part_of(out, first[at], count, routing.layout.columns[at]));
  }
}

void MixtureSteps::add_output(const FfnWeights& weights, const Routing& routing, const Tensor& active,
                              const Tensor& hidden, const Tensor& room, const ExpertTap& tap) {
  for_experts(weights, routing,
              [&](std::size_t expert, std::int64_t first, std::int64_t count, std::int64_t first_element) {
                const ExpertWeights& own = *weights.experts[expert];
                ops::linear(context_, part_of(active, first_element, count, own.columns), own.down, nullptr,
                            rows_of(first, count));
                if (tap)
                  tap(static_cast<std::int64_t>(expert), weights_of(routing, first, count),
                      rows_of(first, count));
              });
  const Tensor rows = rows_of(0, routing.layout.count());
  if (!shards_.alone() && room.dtype == DType::bf16) {
    ops::sum_rows(context_, rows, routing.places, room);
    shards_.sum(room);
    return ops::add(context_, room, hidden);
  }
  // As for a product: one shard adds its part to what is there, the others put theirs in its place.
  ops::sum_rows(context_, rows, routing.places, hidden, shards_.is_root());
  shards_.sum(hidden);
}

}  // namespace galapagos
