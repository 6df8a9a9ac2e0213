#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <galapagos/assignment/built_module.hpp>
#include <galapagos/assignment/level_store.hpp>

namespace galapagos {

/// Builds modules at any level from the dense weights and the level store, and keeps those used last.
class ModuleCache {
 public:
  /// Keeps up to `limit` bytes beside what is in use. All arguments must outlive this. `precision`: of the
  /// matrices; `dense`: the layers of the part.
  ModuleCache(const ops::Context& context, const SpacePart& part, const std::vector<LayerWeights>& dense,
              const LevelStore& store, DType precision, std::uint64_t limit);

  /// The part of the module at a level that the database holds; those below it are the dense weights and not
  /// asked for here.
  std::shared_ptr<const BuiltModule> get(std::size_t module, std::int64_t level);

  std::uint64_t built() const { return built_; }

 private:
  using Key = std::pair<std::size_t, std::int64_t>;
  struct Entry {
    std::shared_ptr<const BuiltModule> module;
    std::list<Key>::iterator place;
  };

  std::shared_ptr<const BuiltModule> build(const Key& key);

  const ops::Context& context_;
  const SpacePart& part_;
  const std::vector<LayerWeights>& dense_;
  const LevelStore& store_;
  DType precision_;
  std::uint64_t limit_;
  std::uint64_t held_ = 0;
  std::uint64_t built_ = 0;
  std::map<Key, Entry> entries_;
  std::list<Key> by_use_;  // the last used first
  std::vector<std::byte> storage_;
};

}  // namespace galapagos
