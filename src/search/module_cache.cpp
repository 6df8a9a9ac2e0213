#include <galapagos/search/module_cache.hpp>

namespace galapagos {

std::uint64_t BuiltModule::bytes() const {
  std::uint64_t sum = 0;
  for (const OwnedTensor* tensor :
       {&attention.norm, &attention.q, &attention.k, &attention.v, &attention.o, &attention.q_bias,
        &attention.k_bias, &attention.v_bias, &ffn.norm, &ffn.gate, &ffn.up, &ffn.down}) {
    sum += (*tensor)->bytes();
  }
  return sum;
}

ModuleCache::ModuleCache(const ops::Context& context, const SpacePart& part,
                         const std::vector<LayerWeights>& dense, const LevelStore& store, DType precision,
                         std::uint64_t limit)
    : context_(context), part_(part), dense_(dense), store_(store), precision_(precision), limit_(limit) {}

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
  const ModuleChoices& choices = part_.space.modules[key.first];
  const auto level = static_cast<std::size_t>(key.second);
  auto module = std::make_shared<BuiltModule>();
  ++built_;
  if (!part_.present[key.first][level]) return module;
  const std::vector<std::int64_t>& kept = choices.kept[level];
  const HfConfig& config = part_.model.config;
  const bool verified = part_.verifies(key.first, key.second);
  OwnedTensor weight;
  if (verified || !kept.empty()) {
    const auto count = static_cast<std::int64_t>(kept.size());
    const std::span<const std::byte> words =
        store_.read(key.first, key.second, part_.first_kept[key.first][level], count, verified, storage_);
    if (count > 0)
      weight = level_weight(context_, words, store_.dtype(), precision_, count, config.hidden_size);
  }
  const LayerWeights& layer = dense_[static_cast<std::size_t>(choices.id.layer)];
  if (choices.id.kind == ModuleKind::attention) {
    module->attention = prune_attention(context_, layer.attention, config.head_dim, kept, std::move(weight));
  } else {
    module->ffn = prune_ffn(context_, layer.ffn, kept, std::move(weight));
  }
  return module;
}

}  // namespace galapagos
