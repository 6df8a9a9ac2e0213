#include <algorithm>

#include <galapagos/model/cost.hpp>

namespace galapagos {

double mean_seen(std::int64_t sequence_length) {
  return (static_cast<double>(sequence_length) + 1) / 2;
}

double attention_operations(const HfConfig& config, std::int64_t heads, std::int64_t kv_heads, double seen) {
  const auto q = static_cast<double>(heads * config.head_dim);
  const auto kv = static_cast<double>(kv_heads * config.head_dim);
  const double projections = 2 * static_cast<double>(config.hidden_size) * (2 * q + 2 * kv);
  return projections + 4 * q * seen;  // scores, and the weighted sum of values
}

double ffn_operations(const HfConfig& config, std::int64_t columns) {
  return 6 * static_cast<double>(config.hidden_size) * static_cast<double>(columns);
}

double mixture_operations(const HfConfig& config, const LayerShape& shape) {
  const std::int64_t experts = std::ssize(shape.experts);
  const double share = static_cast<double>(std::min(config.mixture->experts_per_token, experts)) /
                       static_cast<double>(experts);
  return share * ffn_operations(config, shape.columns) +
         2 * static_cast<double>(config.hidden_size * experts);
}

double layer_operations(const HfConfig& config, const LayerShape& shape, double seen) {
  return attention_operations(config, shape.heads(), shape.kv_heads, seen) +
         (shape.mixture() ? mixture_operations(config, shape) : ffn_operations(config, shape.columns));
}

double logit_operations(const HfConfig& config) {
  return 2 * static_cast<double>(config.hidden_size) * static_cast<double>(config.vocab_size);
}

double span_operations(const HfConfig& config, std::int64_t first, std::int64_t last, double seen) {
  double sum = 0;
  for (std::int64_t layer = first; layer < last; ++layer)
    sum += layer_operations(config, config.shape(layer), seen);
  return sum;
}

}  // namespace galapagos
