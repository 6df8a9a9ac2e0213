#include <galapagos/search/module_cache.hpp>

namespace galapagos {

std::uint64_t BuiltModule::bytes() const {
  std::uint64_t sum = 0;
  for (const OwnedTensor* tensor : {&attention.norm, &attention.q, &attention.k, &attention.v, &attention.o,
                                    &ffn.norm, &ffn.gate, &ffn.up, &ffn.down}) {
    sum += (*tensor)->bytes();
  }
  return sum;
}

ModuleCache::ModuleCache(const ops::Context& context, const HfConfig& config,
                         const std::vector<LayerWeights>& dense, const SearchSpace& space,
                         const LevelStore& store, DType precision, std::uint64_t limit)
    : context_(context),
      config_(config),
      dense_(dense),
      space_(space),
      store_(store),
      precision_(precision),
      limit_(limit) {}

std::shared_ptr<const BuiltModule> ModuleCache::get(std::size_t module, std::int64_t level) {
  const Key key{module, level};
  if (const auto found = entries_.find(key); found != entries_.end()) {
    by_use_.splice(by_use_.begin(), by_use_, found->second.place);
    return found->second.module;
  }
  std::shared_ptr<const BuiltModule> built = build(key);
  held_ += built->bytes();
  by_use_.push_front(key);
  entries_[key] = {built, by_use_.begin()};
  while (held_ > limit_ && !by_use_.empty()) {
    const auto oldest = entries_.find(by_use_.back());
    held_ -= oldest->second.module->bytes();
    entries_.erase(oldest);
    by_use_.pop_back();
  }
  return built;
}

std::shared_ptr<const BuiltModule> ModuleCache::build(const Key& key) {
  const ModuleChoices& choices = space_.modules[key.first];
  const auto& kept = choices.kept[static_cast<std::size_t>(key.second)];
  auto module = std::make_shared<BuiltModule>();
  ++built_;
  if (kept.empty()) return module;
  OwnedTensor weight = level_weight(context_, store_.read(key.first, key.second, storage_), store_.dtype(),
                                    precision_, static_cast<std::int64_t>(kept.size()), config_.hidden_size);
  const LayerWeights& layer = dense_[static_cast<std::size_t>(choices.id.layer)];
  if (choices.id.kind == ModuleKind::attention) {
    module->attention = prune_attention(context_, layer.attention, config_.head_dim, kept, std::move(weight));
  } else {
    module->ffn = prune_ffn(context_, layer.ffn, kept, std::move(weight));
  }
  return module;
}

}  // namespace galapagos
