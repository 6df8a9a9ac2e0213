#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/ops/cached_attention.hpp>

namespace galapagos {

/// Rows of texts that a model goes on with, one text's after the other's: as ops::CachedRows, and how long
/// each text is going to be that is being given, by which some models turn heads.
struct TextRows {
  std::vector<std::int64_t> offsets = {0}, starts, places, lengths;

  void add(std::int64_t place, std::int64_t start, std::int64_t rows, std::int64_t length);
  std::int64_t rows() const { return offsets.back(); }
  /// Whether nothing of any text was given before.
  bool from_the_start() const {
    return std::ranges::all_of(starts, [](std::int64_t start) { return start == 0; });
  }
  operator ops::CachedRows() const { return {offsets, starts, places}; }  // NOLINT: what operations see of it
};

/// Some rows, and the cache of the layer that they pass.
struct CachedLayer {
  const TextRows& texts;
  ops::HeadCache cache;
};

/// Keys and values of `places` texts of at most `capacity` tokens, of every layer as many as it has KV heads.
class KvCache {
 public:
  KvCache(const ops::Context& context, const HfConfig& config, std::int64_t places, std::int64_t capacity);

  ops::HeadCache layer(std::int64_t layer) const;
  std::int64_t capacity() const { return capacity_; }

 private:
  struct Layer {
    OwnedTensor keys, values;
    std::int64_t kv_heads = 0;
  };

  std::int64_t capacity_;
  std::vector<Layer> layers_;
};

}  // namespace galapagos
