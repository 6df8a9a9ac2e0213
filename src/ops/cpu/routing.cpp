#include "../backends.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace galapagos::ops::cpu {
namespace {

void softmax(std::span<float> values) {
  const float largest = *std::ranges::max_element(values);
  double sum = 0;
  for (float& value : values) {
    value = std::exp(value - largest);
    sum += static_cast<double>(value);
  }
  for (float& value : values) value = static_cast<float>(static_cast<double>(value) / sum);
}

/// The experts of largest probability, the lower index first where two are equal. NaN is less than all.
void choose(std::span<const float> probabilities, std::span<std::int32_t> chosen) {
  thread_local std::vector<std::int32_t> order;
  order.resize(probabilities.size());
  std::iota(order.begin(), order.end(), 0);
  const auto of = [&](std::int32_t expert) {
    const float value = probabilities[static_cast<std::size_t>(expert)];
    return std::isnan(value) ? -1.0f : value;
  };
  std::partial_sort(
      order.begin(), order.begin() + std::ssize(chosen), order.end(),
      [&](std::int32_t a, std::int32_t b) { return of(a) > of(b) || (of(a) == of(b) && a < b); });
  std::copy_n(order.begin(), chosen.size(), chosen.begin());
}

/// The probabilities of each token's experts, those that it goes to, and what each of these weighs.
std::vector<float> choose_experts(const Tensor& logits, bool renormalised, const Routing& routing) {
  const std::int64_t experts = routing.layout.experts(), each = routing.experts_per_token;
  std::copy_n(logits.floats(), logits.elements(), routing.probabilities.data());
  std::vector<float> weights(static_cast<std::size_t>(routing.choices()));
#pragma omp parallel for schedule(static)
  for (std::int64_t token = 0; token < routing.token_count; ++token) {
    const std::span<float> row(routing.probabilities.data() + token * experts,
                               static_cast<std::size_t>(experts));
    const std::span<std::int32_t> chosen(routing.chosen.data() + token * each,
                                         static_cast<std::size_t>(each));
    float* const own = weights.data() + token * each;
    softmax(row);
    choose(row, chosen);
    float sum = 0;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      own[i] = row[static_cast<std::size_t>(chosen[i])];
      sum += own[i];
    }
    if (renormalised)
      for (std::size_t i = 0; i < chosen.size(); ++i) own[i] /= sum;
  }
  return weights;
}

/// Counts each expert's rows, and puts every choice of an expert of which there are columns in its row.
void sort_choices(const std::vector<float>& weights, Routing& routing) {
  const std::vector<std::int64_t>& columns = routing.layout.columns;
  const std::span<const std::int32_t> chosen(routing.chosen.data(), weights.size());
  std::vector<std::int64_t>& first = routing.layout.rows;
  first.assign(columns.size() + 1, 0);
  for (const std::int32_t expert : chosen) {
    const auto at = static_cast<std::size_t>(expert);
    if (columns[at] > 0) ++first[at + 1];
  }
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<std::int64_t> next(first.begin(), first.end() - 1);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto expert = static_cast<std::size_t>(chosen[i]);
    if (columns[expert] == 0) {
      routing.places.data()[i] = Routing::elsewhere;
      continue;
    }
    const std::int64_t row = routing.places.data()[i] = next[expert]++;
    routing.tokens.data()[row] = static_cast<std::int64_t>(i) / routing.experts_per_token;
    routing.weights.data()[row] = weights[i];
  }
}

}  // namespace

void route(const Context&, const Tensor& logits, const RoutingRule& rule,
           std::span<const std::int64_t> columns, Routing& routing) {
  routing.token_count = logits.rows();
  routing.experts_per_token = std::min(rule.experts_per_token, std::ssize(columns));
  routing.layout.columns.assign(columns.begin(), columns.end());
  routing.d_probabilities.clear();
  sort_choices(choose_experts(logits, rule.renormalised, routing), routing);
}

void route_backward(const Context&, const Routing& routing, const RoutingRule& rule, const Tensor& d_weights,
                    const Tensor& d_logits) {
  const std::int64_t experts = routing.layout.experts(), each = routing.experts_per_token;
  fill_zero(d_logits);
#pragma omp parallel for schedule(static)
  for (std::int64_t token = 0; token < routing.token_count; ++token) {
    const float* const p = routing.probabilities.data() + token * experts;
    float* const d = d_logits.floats() + token * experts;
    float of_chosen = 0, inner = 0;  // sums over the chosen: of p, and of d_weight times p
    const auto each_choice = [&](const auto& work) {
      for (std::int64_t i = token * each; i < (token + 1) * each; ++i) {
        const std::int64_t row = routing.places.data()[i];
        work(routing.chosen.data()[i], row == Routing::elsewhere ? 0.0f : d_weights.floats()[row]);
      }
    };
    each_choice([&](std::int32_t expert, float by_weight) {
      of_chosen += p[expert];
      inner += by_weight * p[expert];
    });
    if (rule.renormalised) {  // the softmax of the chosen logits alone
      each_choice([&](std::int32_t expert, float by_weight) {
        d[expert] = p[expert] / of_chosen * (by_weight - inner / of_chosen);
      });
    } else {
      for (std::int64_t expert = 0; expert < experts; ++expert) d[expert] = -p[expert] * inner;
      each_choice([&](std::int32_t expert, float by_weight) { d[expert] += p[expert] * by_weight; });
    }
    if (routing.d_probabilities.empty()) continue;
    const float* const by_probability = routing.d_probabilities.data();
    float mean = 0;
    for (std::int64_t expert = 0; expert < experts; ++expert) mean += p[expert] * by_probability[expert];
    for (std::int64_t expert = 0; expert < experts; ++expert)
      d[expert] += p[expert] * (by_probability[expert] - mean);
  }
}

}  // namespace galapagos::ops::cpu
