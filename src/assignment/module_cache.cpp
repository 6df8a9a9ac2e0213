#include <galapagos/assignment/module_cache.hpp>

namespace galapagos {

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
  const auto [module, level] = key;
  const auto layer = static_cast<std::size_t>(part_.space.modules[module].id.layer);
  ++built_;
  return std::make_shared<BuiltModule>(build_module(
      context_, part_, module, level, dense_[layer], {store_.dtype(), precision_, true},
      [&, module = module, level = level](std::int64_t first, std::int64_t count, bool verified) {
        return store_.read(module, level, first, count, verified, storage_);
      }));
}

}  // namespace galapagos
