#include "scorer.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/evaluation_grid.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos {

std::uint64_t evaluation_bytes(std::span<const ModelSource* const> models, const LayerSpan& span,
                               std::int64_t most_tokens, Device device, DType activations,
                               std::size_t batches) {
  std::uint64_t bytes = 0;
  for (const ModelSource* model : models) {
    bytes += activation_bytes(model->config, most_tokens, activations, batches) +
             stage_weight_bytes(model->config, span, model->precision);
  }
  if (span.last == models[0]->config.layers)
    bytes += Scorer::bytes({models.begin(), models.end()}, device, activations);
  return bytes;
}

PipelineGrid evaluation_grid(std::span<const ModelSource* const> models, int ranks, std::int64_t most_tokens,
                             std::uint64_t limit, Device device, DType activations) {
  std::vector<double> costs(static_cast<std::size_t>(models[0]->config.layers), 0.0);
  for (const ModelSource* model : models) {
    const std::vector<double> own = layer_costs(model->config);
    for (std::size_t i = 0; i < costs.size(); ++i) costs[i] += own[i];
  }
  std::uint64_t most = 0;
  for (int stages = 1; stages <= std::min<std::int64_t>(ranks, models[0]->config.layers); ++stages) {
    PipelineGrid grid;
    grid.lanes = ranks / stages;
    grid.spans = balanced_spans(costs, stages);
    most = 0;
    for (const LayerSpan& span : grid.spans)
      most = std::max(most, evaluation_bytes(models, span, most_tokens, device, activations));
    if (stages > 1) {
      check_message(most_tokens, static_cast<std::int64_t>(models.size()) * models[0]->config.hidden_size);
    }
    if (most <= limit) return grid;
  }
  throw ResourceError(
      fmt::format("the model needs {} on a rank, which may use {}", human_bytes(most), human_bytes(limit)),
      "memory", "use more ranks or nodes, a smaller --batch-tokens, or raise --memory-limit");
}

}  // namespace galapagos
