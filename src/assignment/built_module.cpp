#include <galapagos/assignment/built_module.hpp>
#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {

std::uint64_t BuiltModule::bytes() const {
  std::uint64_t sum = 0;
  const auto add = [&](const auto& part) {
    for (const auto& [spec, weight, gradient] : tensors_of(part)) sum += (part.*weight)->bytes();
  };
  add(attention);
  add(ffn);
  if (expert) add(*expert);
  return sum;
}

BuiltModule build_module(const ops::Context& context, const SpacePart& part, std::size_t module,
                         std::int64_t level, const LayerWeights& layer, const ModuleBuild& build,
                         const ReadLevelRows& read) {
  BuiltModule built;
  const auto at = static_cast<std::size_t>(level);
  const ModuleChoices& choices = part.space.modules[module];
  if (choices.gone[at]) return built;
  const std::vector<std::int64_t> kept = choices.kept[at];
  const HfConfig& config = part.model.config;
  const bool attention = choices.id.kind == ModuleKind::attention;
  const ExpertWeights* expert = choices.id.expert == no_expert
                                    ? nullptr
                                    : layer.ffn.experts[static_cast<std::size_t>(choices.id.expert)].get();
  const bool verified = part.verifies(module, level);
  OwnedTensor weight;
  if (verified || !kept.empty()) {
    const std::int64_t count = std::ssize(kept);
    const std::span<const std::byte> words = read(part.first_kept[module][at], count, verified);
    const std::int64_t dense = expert != nullptr ? expert->columns : layer.ffn.columns;
    const std::int64_t width = attention || !build.padded ? count : padded_columns(count, dense);
    if (count > 0)
      weight = level_weight(context, words, build.stored, build.precision, count, width, config.hidden_size);
  }
  if (attention) {
    built.attention = prune_attention(context, layer.attention, config.head_dim, kept, std::move(weight));
  } else if (expert != nullptr) {
    built.expert = std::make_shared<ExpertWeights>(prune_expert(context, *expert, kept, std::move(weight)));
  } else {
    built.ffn = prune_ffn(context, layer.ffn, kept, std::move(weight));
  }
  return built;
}

}  // namespace galapagos
