#include "timing_parts.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <omp.h>
#include <set>

#include <galapagos/core/progress.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/search/module_times.hpp>
#include <galapagos/tensor/gpu.hpp>
#include <galapagos/training/random_weights.hpp>

namespace galapagos {
namespace {

constexpr std::size_t cached_bytes = std::size_t{256} << 20;
constexpr double sweep_seconds = 0.01;  // so long that the clock and the wait for a GPU do not count
constexpr std::int64_t most_passes = 1000;

/// So many query heads on so many KV heads, as evenly as it goes.
std::vector<std::int32_t> dealt_heads(std::int64_t heads, std::int64_t kv_heads) {
  std::vector<std::int32_t> kv_of_head;
  for (std::int64_t head = 0; head < heads; ++head)
    kv_of_head.push_back(static_cast<std::int32_t>(head * kv_heads / heads));
  return kv_of_head;
}

/// The attention of most layers that see everything before a token, where there is such.
AttentionKind usual_kind(const HfConfig& config) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer)
    if (config.attention_kind(layer).window == 0) return config.attention_kind(layer);
  return config.attention_kind(0);
}

/// A layer of that shape with random weights.
LayerWeights random_layer(const ops::Context& context, const HfConfig& config, LayerShape shape,
                          DType precision) {
  HfConfig one = config;
  one.layers = 1;
  one.layer_shapes = {std::move(shape)};
  one.attention_kinds = {usual_kind(config)};
  return random_source(one, precision, context.device(), timing_seed).layer(0);
}

/// Copies of a layer's part; what is not there stays empty.
template <typename Part>
Part copy_of_part(const Part& part, Device device) {
  Part copy;
  for (const auto& [spec, weight, gradient] : tensors_of(part))
    if (!(part.*weight)->empty()) copy.*weight = copy_of(part.*weight, device, "weights");
  return copy;
}

template <typename Part>
std::size_t bytes_of(const Part& part) {
  std::size_t bytes = 0;
  for (const auto& [spec, weight, gradient] : tensors_of(part)) bytes += (part.*weight)->bytes();
  return bytes;
}

/// How many layers are gone over in turn, each of so many bytes.
std::size_t copies_for(const HfConfig& config, std::size_t bytes) {
  const std::size_t enough = cached_bytes / std::max<std::size_t>(bytes, 1) + 1;
  return std::clamp<std::size_t>(enough, 1,
                                 static_cast<std::size_t>(std::max<std::int64_t>(config.layers, 1)));
}

}  // namespace

ModuleTimer::ModuleTimer(const ops::Context& context, const HfConfig& config, const Timing& timing)
    : context_(context), config_(config), timing_(timing) {}

template <typename Pass>
double ModuleTimer::least_time(Pass&& pass) const {
  std::size_t next = 0;
  const auto sweep = [&](std::int64_t passes) {
    const Stopwatch watch;
    for (std::int64_t i = 0; i < passes; ++i) pass(next++);
    synchronise(context_.device());
    return watch.seconds() / static_cast<double>(passes);
  };
  sweep(1);  // makes workspaces, and chooses kernels
  const double estimate = std::max(sweep(1), 1e-9);
  const auto passes = std::clamp<std::int64_t>(std::llround(sweep_seconds / estimate), 1, most_passes);
  double least = std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < timing_.repeats; ++i) least = std::min(least, sweep(passes));
  return least;
}

std::vector<std::int64_t> ModuleTimer::offsets(LatencyPhase phase) const {
  return even_offsets(timing_.batch, phase == LatencyPhase::prefill ? timing_.length : 1);
}

double ModuleTimer::seconds(const PartShape& shape, LatencyPhase phase) {
  if (!shape.present()) return 0;
  if (shape.kind == PartKind::fixed) return fixed(phase);
  return shape.kind == PartKind::ffn ? feed_forward(shape, phase) : attention(shape, phase);
}

double ModuleTimer::fixed(LatencyPhase phase) {
  const ModelSource source = random_source(config_, timing_.precision, context_.device(), timing_seed);
  const HeadWeights head = source.head();
  const OwnedTensor own = config_.tie_word_embeddings ? OwnedTensor() : source.embedding();
  const Tensor& table = config_.tie_word_embeddings ? head.head.view() : own.view();
  const std::vector<std::int32_t> ids = random_ids(config_, tokens(phase));
  const OwnedTensor hidden = hidden_states(context_, config_, tokens(phase));
  const OwnedTensor logits({timing_.batch, config_.vocab_size}, DType::f32, context_.device(), "logits");
  return least_time([&](std::size_t) {
    embed_tokens(context_, config_, alone(), ids, table, hidden);
    compute_logits(context_, config_, head, hidden->slice(tokens(phase) - timing_.batch, timing_.batch),
                   logits);
  });
}

double ModuleTimer::feed_forward(const PartShape& shape, LatencyPhase phase) {
  std::vector<FfnWeights> layers;
  layers.push_back(random_layer(context_, config_, {0, {}, shape.columns}, timing_.precision).ffn);
  const std::size_t copies = copies_for(config_, bytes_of(layers.front()));
  while (layers.size() < copies) {
    layers.push_back(copy_of_part(layers.front(), context_.device()));
    layers.back().columns = shape.columns;
  }
  LayerForward forward(context_, config_, tokens(phase));
  const OwnedTensor hidden = random_tensor(context_, {tokens(phase), config_.hidden_size}, DType::f32);
  return least_time([&](std::size_t i) { forward.feed_forward(layers[i % copies], hidden); });
}

double ModuleTimer::attention(const PartShape& shape, LatencyPhase phase) {
  const bool decode = phase == LatencyPhase::decode;
  std::vector<AttentionWeights> layers;
  layers.push_back(random_layer(context_, config_,
                                {shape.kv_heads, dealt_heads(shape.heads, shape.kv_heads), 0},
                                timing_.precision)
                       .attention);
  const std::int64_t keys = decode ? timing_.batch * timing_.length * shape.kv_heads : 0;
  const std::size_t cache_bytes =
      static_cast<std::size_t>(2 * keys * config_.head_dim) * size_of(timing_.precision);
  const std::size_t copies = copies_for(config_, bytes_of(layers.front()) + cache_bytes);
  while (layers.size() < copies) {
    layers.push_back(copy_of_part(layers.front(), context_.device()));
    layers.back().kind = layers.front().kind;
    layers.back().kv_heads = layers.front().kv_heads;
    layers.back().kv_of_head = layers.front().kv_of_head;
  }
  std::vector<TimedCache> caches;
  while (decode && caches.size() < copies) caches.emplace_back(context_, config_, keys, timing_.precision);
  const std::int64_t queries = queries_of(shape.heads, shape.kv_heads);
  const DType type = context_.activations();
  OwnedTensor q, scores, mixed;
  if (decode) {
    q = random_tensor(context_, {queries, config_.head_dim}, type);
    scores = OwnedTensor({queries, keys}, type, context_.device(), "scores");
    mixed = OwnedTensor({queries, config_.head_dim}, type, context_.device(), "states");
  }
  LayerForward forward(context_, config_, tokens(phase));
  const OwnedTensor hidden = random_tensor(context_, {tokens(phase), config_.hidden_size}, DType::f32);
  const std::vector<std::int64_t> sequences = offsets(phase);
  return least_time([&](std::size_t i) {
    forward.attention(layers[i % copies], sequences, hidden);
    if (!decode) return;
    attend(context_, q, caches[i % copies], scores, mixed);
  });
}

std::string device_text(const ops::Context& context) {
  if (context.device() == Device::cpu) return fmt::format("cpu with {} threads", omp_get_max_threads());
  const GpuUuid mine = free_gpu_memory().uuid;
  for (const Gpu& gpu : visible_gpus())
    if (gpu.uuid == mine) return gpu.name;
  return name_of(context.device());
}

std::vector<PartShape> shapes_of(const SearchSpace& space) {
  std::set<PartShape> shapes = {fixed_shape(space)};
  for (std::size_t i = 0; i < space.modules.size(); ++i)
    for (std::size_t level = 0; level < space.modules[i].parameters.size(); ++level)
      shapes.insert(part_shape(space, i, level));
  return {shapes.begin(), shapes.end()};
}

std::vector<PartShape> possible_shapes(const DatabaseHeader& header) {
  const HfConfig& config = header.config;
  std::set<PartShape> shapes = {{PartKind::fixed, 0, 0, config.vocab_size}};
  for (const ModuleId& module : header.modules()) {
    const StructureLayout layout = header.layout(module);
    const LayerShape& shape = config.shape(module.layer);
    for (const std::int64_t removed : header.removed(module)) {
      const std::int64_t columns = layout.columns - removed * layout.unit;
      if (module.kind == ModuleKind::ffn) {
        shapes.insert({PartKind::ffn, 0, 0, columns});
        continue;
      }
      // The largest groups first need the fewest KV heads.
      std::vector<std::int64_t> groups(static_cast<std::size_t>(shape.kv_heads), 0);
      for (const std::int32_t kv_head : shape.kv_of_head) ++groups[static_cast<std::size_t>(kv_head)];
      std::sort(groups.rbegin(), groups.rend());
      const std::int64_t heads = columns / config.head_dim;
      std::int64_t fewest = 0, held = 0;
      while (held < heads) held += groups[static_cast<std::size_t>(fewest++)];
      std::int64_t most = std::min(heads, shape.kv_heads);
      if (header.attention_unit == AttentionUnit::group) most = fewest;
      if (header.attention_unit == AttentionUnit::per_group) fewest = most;
      for (std::int64_t kv_heads = fewest; kv_heads <= most; ++kv_heads)
        shapes.insert({PartKind::attention, heads, kv_heads, 0});
    }
  }
  return {shapes.begin(), shapes.end()};
}

}  // namespace galapagos
