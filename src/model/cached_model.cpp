#include <galapagos/model/cached_model.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {

CachedBuffers::CachedBuffers(const ops::Context& context, const HfConfig& config, const CacheExtents& extents,
                             const Shards& shards)
    : cache(context, config, extents.places, extents.capacity),
      layers(context, config, extents.most_tokens, shards),
      hidden(hidden_states(context, config, extents.most_tokens)),
      last(hidden_states(context, config, extents.places)),
      logits(context, shards, extents.places, config.vocab_size, false) {}

CachedModel::CachedModel(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
                         const CacheExtents& extents, const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      weights_(weights),
      buffers_(context, config, extents, shards) {}

std::uint64_t CachedModel::bytes(const ModelSource& source, const CacheExtents& extents, Device device,
                                 DType activations) {
  const ops::Context context = ops::Context::planned(device, activations);
  return static_cast<std::uint64_t>(parameters_in_model(source.config)) * size_of(source.precision) +
         bytes_held([&] { return CachedBuffers(context, source.config, extents, alone()); }) +
         bytes_held([&] { return logits_scratch(context, source.config, extents.places); });
}

Tensor CachedModel::step(std::span<const std::int32_t> tokens, const TextRows& texts) {
  const Tensor hidden = buffers_.hidden->slice(0, texts.rows());
  embed_tokens(context_, config_, shards_, tokens, weights_.embedding, hidden);
  for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer)
    buffers_.layers.run(weights_.layers[layer],
                        {texts, buffers_.cache.layer(static_cast<std::int64_t>(layer))}, hidden);
  texts_ = std::ssize(texts.starts);
  std::vector<std::int64_t> ends;
  for (std::size_t text = 1; text < texts.offsets.size(); ++text) ends.push_back(texts.offsets[text] - 1);
  const Tensor last = buffers_.last->slice(0, texts_), logits = buffers_.logits.logits->slice(0, texts_);
  ops::gather_rows(context_, hidden, ends, last);
  compute_logits(context_, config_, weights_.norm, weights_.output(), last, logits);
  return logits;
}

bool CachedModel::finite() const {
  return ops::all_finite(context_, buffers_.last->slice(0, texts_)) &&
         ops::all_finite(context_, buffers_.logits.logits->slice(0, texts_));
}

}  // namespace galapagos
