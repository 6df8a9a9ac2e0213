#include "gradient_buffers.hpp"

#include <tuple>
#include <utility>

#include <galapagos/model/logit_tiles.hpp>

namespace galapagos {

GradientBuffers::GradientBuffers(const ops::Context& context, const HfConfig& config,
                                 const HfConfig* unpruned, const LayerSpan& span,
                                 std::span<const ModuleId> modules, const Shards& shards,
                                 const GradientGathering& how)
    : layers(context, config, how.most_tokens, shards) {
  const auto states = [&] { return hidden_states(context, config, how.most_tokens); };
  if (how.form == SensitivityForm::lowrank) {
    const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
      return OwnedTensor({rows, columns}, DType::f32, context.device(), "a sketch");
    };
    directions.emplace(SketchDirections{context.exact(), matrix(how.rank, config.hidden_size),
                                        matrix(how.most_tokens, how.rank)});
  }
  for (const ModuleId& module : modules) {
    if (module.layer < span.first || module.layer >= span.last) continue;
    sums.emplace(
        std::piecewise_construct, std::forward_as_tuple(module),
        std::forward_as_tuple(context, how.form, config.hidden_size, directions ? &*directions : nullptr,
                              "the sensitivity of " + name_of(module)));
  }
  for (std::int64_t layer = span.first; layer < span.last; ++layer) {
    before.push_back(states());
    if (!how.recompute) tapes.emplace_back(context, config, config.shape(layer), how.most_tokens);
  }
  if (how.recompute) tapes.emplace_back(context, config, widest_layer(config), how.most_tokens);
  for (OwnedTensor& buffer : hidden) buffer = states();
  again = states();
  d_hidden = states();
  if (unpruned != nullptr) {
    dense.emplace(context, *unpruned, how.most_tokens, 1, shards);
    for (std::int64_t layer = span.first; layer < span.last; ++layer) {
      for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
        const ModuleId module{layer, kind};
        OwnedTensor sum({module_columns(*unpruned, module), config.hidden_size}, DType::f32, context.device(),
                        "the first order of " + name_of(module));
        fill_zero(sum);
        first_orders.emplace(module, std::move(sum));
      }
    }
  }
  if (span.last < config.layers) return;
  output.emplace(context, config, how.most_tokens, shards);
  losses.emplace(context, shards, ops::logit_tile(context.device(), how.most_tokens), config.vocab_size,
                 unpruned != nullptr);
}

}  // namespace galapagos
