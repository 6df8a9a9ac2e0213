#include <algorithm>
#include <cmath>
#include <numeric>

#include <galapagos/model/routing.hpp>

namespace galapagos {
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

}  // namespace

Routing route(const Tensor& logits, const MixtureSettings& settings, std::span<const std::int64_t> columns) {
  const std::int64_t tokens = logits.rows(), experts = std::ssize(columns);
  const std::int64_t each = std::min(settings.experts_per_token, experts);
  Routing routing;
  routing.experts_per_token = each;
  routing.layout.columns.assign(columns.begin(), columns.end());
  routing.probabilities.resize(static_cast<std::size_t>(tokens * experts));
  copy_bytes(reinterpret_cast<std::byte*>(routing.probabilities.data()), Device::cpu, logits.data,
             logits.device, logits.bytes());
  routing.chosen.resize(static_cast<std::size_t>(tokens * each));
  std::vector<float> weights(routing.chosen.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t token = 0; token < tokens; ++token) {
    const auto row =
        std::span(routing.probabilities)
            .subspan(static_cast<std::size_t>(token * experts), static_cast<std::size_t>(experts));
    const auto at = static_cast<std::size_t>(token * each), count = static_cast<std::size_t>(each);
    softmax(row);
    choose(row, std::span(routing.chosen).subspan(at, count));
    float sum = 0;
    for (std::size_t i = at; i < at + count; ++i) {
      weights[i] = row[static_cast<std::size_t>(routing.chosen[i])];
      sum += weights[i];
    }
    if (settings.renormalised)
      for (std::size_t i = at; i < at + count; ++i) weights[i] /= sum;
  }
  std::vector<std::int64_t>& first = routing.layout.rows;
  first.assign(static_cast<std::size_t>(experts) + 1, 0);
  for (const std::int32_t expert : routing.chosen) {
    const auto at = static_cast<std::size_t>(expert);
    if (columns[at] > 0) ++first[at + 1];
  }
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<std::int64_t> next(first.begin(), first.end() - 1);
  routing.tokens.resize(static_cast<std::size_t>(first.back()));
  routing.weights.resize(routing.tokens.size());
  routing.places.assign(routing.chosen.size(), Routing::elsewhere);
  for (std::size_t i = 0; i < routing.chosen.size(); ++i) {
    const auto expert = static_cast<std::size_t>(routing.chosen[i]);
    if (columns[expert] == 0) continue;
    const std::int64_t row = routing.places[i] = next[expert]++;
    routing.tokens[static_cast<std::size_t>(row)] = static_cast<std::int64_t>(i) / each;
    routing.weights[static_cast<std::size_t>(row)] = weights[i];
  }
  return routing;
}

std::vector<float> route_backward(const Routing& routing, const MixtureSettings& settings,
                                  std::span<const float> d_weights) {
  const auto experts = static_cast<std::size_t>(routing.layout.experts()),
             each = static_cast<std::size_t>(routing.experts_per_token),
             tokens = routing.chosen.size() / each;
  std::vector<float> d_logits(routing.probabilities.size(), 0.0f);
#pragma omp parallel for schedule(static)
  for (std::size_t token = 0; token < tokens; ++token) {
    const float* const p = routing.probabilities.data() + token * experts;
    float* const d = d_logits.data() + token * experts;
    float of_chosen = 0, inner = 0;  // sums over the chosen: of p, and of d_weight times p
    const auto each_choice = [&](const auto& work) {
      for (std::size_t i = token * each; i < (token + 1) * each; ++i) {
        const std::int64_t row = routing.places[i];
        work(static_cast<std::size_t>(routing.chosen[i]),
             row == Routing::elsewhere ? 0.0f : d_weights[static_cast<std::size_t>(row)]);
      }
    };
    each_choice([&](std::size_t expert, float by_weight) {
      of_chosen += p[expert];
      inner += by_weight * p[expert];
    });
    if (settings.renormalised) {  // the softmax of the chosen logits alone
      each_choice([&](std::size_t expert, float by_weight) {
        d[expert] = p[expert] / of_chosen * (by_weight - inner / of_chosen);
      });
    } else {
      for (std::size_t expert = 0; expert < experts; ++expert) d[expert] = -p[expert] * inner;
      each_choice([&](std::size_t expert, float by_weight) { d[expert] += p[expert] * by_weight; });
    }
    if (routing.d_probabilities.empty()) continue;
    float mean = 0;
    for (std::size_t expert = 0; expert < experts; ++expert)
      mean += p[expert] * routing.d_probabilities[expert];
    for (std::size_t expert = 0; expert < experts; ++expert)
      d[expert] += p[expert] * (routing.d_probabilities[expert] - mean);
  }
  return d_logits;
}

}  // namespace galapagos
