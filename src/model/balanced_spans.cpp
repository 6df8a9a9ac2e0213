#include <algorithm>
#include <limits>

#include <galapagos/model/balanced_spans.hpp>

namespace galapagos {

std::vector<LayerSpan> balanced_spans(std::span<const double> layer_costs, int stages) {
  const std::size_t layers = layer_costs.size(), parts = static_cast<std::size_t>(stages);
  std::vector<double> before(layers + 1, 0.0);
  for (std::size_t i = 0; i < layers; ++i) before[i + 1] = before[i] + layer_costs[i];
  // best[p][i]: the least possible cost of the costliest of p spans that cover the first i layers; cut[p][i]:
  // where the last of them begins.
  std::vector<std::vector<double>> best(
      parts + 1, std::vector<double>(layers + 1, std::numeric_limits<double>::infinity()));
  std::vector<std::vector<std::size_t>> cut(parts + 1, std::vector<std::size_t>(layers + 1, 0));
  best[0][0] = 0;
  for (std::size_t p = 1; p <= parts; ++p) {
    for (std::size_t i = p; i <= layers; ++i) {
      for (std::size_t j = p - 1; j < i; ++j) {
        const double cost = std::max(best[p - 1][j], before[i] - before[j]);
        if (cost < best[p][i]) {
          best[p][i] = cost;
          cut[p][i] = j;
        }
      }
    }
  }
  std::vector<LayerSpan> spans(parts);
  std::size_t end = layers;
  for (std::size_t p = parts; p > 0; --p) {
    const std::size_t begin = cut[p][end];
    spans[p - 1] = {static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)};
    end = begin;
  }
  return spans;
}

}  // namespace galapagos
