#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <galapagos/model/partition.hpp>
#include <galapagos/tensor/tensor.hpp>

// The tensors of a model, once. What loads, counts, slices, makes, copies, prunes, trains or writes them goes
// over these tables; only the forward and the backward pass name members.
namespace galapagos {

/// What the rows or the columns of a tensor stand for.
enum class Axis : std::uint8_t {
  none,  ///< a vector's columns
  hidden,
  q,         ///< the query heads' elements
  kv,        ///< the KV heads' elements
  head_dim,  ///< elements of a head, the same for all heads
  ffn,       ///< feed-forward columns, of an expert its own
  experts,
  vocabulary,
  count  ///< of those before
};

/// Where training from scratch begins.
enum class InitialValues : std::uint8_t { normal, zeros, ones };

/// What shards have of a tensor.
enum class Slicing : std::uint8_t {
  none,  ///< every shard has all of it: norms
  rows,  ///< and biases
  columns,
};

struct TensorSpec {
  const char* name;  ///< in the checkpoint, of a layer's tensors behind "model.layers.3."
  Axis rows = Axis::none;
  Axis columns = Axis::none;
  InitialValues initial = InitialValues::normal;
  std::uint32_t stream = 0;              ///< of its random numbers, where it begins with such; no other's
  bool ModelFeatures::*needs = nullptr;  ///< without this feature a model has no such tensor
  bool ModelFeatures::*lacks = nullptr;  ///< nor with this one

  /// Whether such a layer of such a model has it.
  bool present(const HfConfig& config, const LayerShape& shape) const {
    const bool other_kind = shape.mixture() ? along(Axis::ffn) : along(Axis::experts);
    return !other_kind && (needs == nullptr || config.features.*needs) &&
           (lacks == nullptr || !(config.features.*lacks));
  }
  bool along(Axis axis) const { return rows == axis || columns == axis; }
  bool vector() const { return columns == Axis::none; }
  /// Whether it is added to what attention or feed-forward put out.
  bool output_bias() const { return vector() && rows == Axis::hidden && initial == InitialValues::zeros; }
  Slicing slicing() const;
  /// Whether shards, each with its own heads or columns, have but terms of its gradient although all have the
  /// tensor.
  bool partial_gradient() const { return rows == Axis::head_dim || rows == Axis::experts; }
};

/// The tensors of attention, and those of the feed-forward part: weights or their gradients.
template <typename T>
struct AttentionTensors {
  T norm, q, k, v, o, q_bias, k_bias, v_bias, o_bias, q_norm, k_norm;
  T post_norm;  ///< of what o_proj puts out
};
template <typename T>
struct FfnTensors {
  T norm, gate, up, down, gate_bias, up_bias, down_bias;
  T pre_norm;   ///< in place of norm where there are norms behind both parts, which change the names
  T post_norm;  ///< of what down_proj puts out
  T router;     ///< in a mixture, in place of gate, up and down, which its experts have

  const T& input_norm() const;
};
template <typename T>
struct ExpertTensors {
  T gate, up, down;
};

inline bool none_of(const Tensor& tensor) {
  return tensor.empty();
}
inline bool none_of(const OwnedTensor& tensor) {
  return tensor->empty();
}
template <typename T>
const T& FfnTensors<T>::input_norm() const {
  return none_of(pre_norm) ? norm : pre_norm;
}

template <template <typename> class Tensors>
struct LayerTensor {
  TensorSpec spec;
  OwnedTensor Tensors<OwnedTensor>::*weight;
  Tensor Tensors<Tensor>::*gradient;
};

namespace layer_tensors {
using Axis::experts, Axis::ffn, Axis::head_dim, Axis::hidden, Axis::kv, Axis::none, Axis::q, Axis::vocabulary;
using InitialValues::normal, InitialValues::ones, InitialValues::zeros;
using A = AttentionTensors<OwnedTensor>;
using DA = AttentionTensors<Tensor>;
using F = FfnTensors<OwnedTensor>;
using DF = FfnTensors<Tensor>;
using E = ExpertTensors<OwnedTensor>;
using DE = ExpertTensors<Tensor>;
constexpr auto qkv_bias = &ModelFeatures::qkv_bias, qk_norm = &ModelFeatures::qk_norm,
               o_bias = &ModelFeatures::o_bias, mlp_bias = &ModelFeatures::mlp_bias,
               post_norms = &ModelFeatures::post_norms;

/// In the order of the parameters.
inline constexpr auto attention = std::to_array<LayerTensor<AttentionTensors>>({
    {{"input_layernorm.weight", hidden, none, ones}, &A::norm, &DA::norm},
    {{"self_attn.q_proj.weight", q, hidden, normal, 0}, &A::q, &DA::q},
    {{"self_attn.q_proj.bias", q, none, zeros, 0, qkv_bias}, &A::q_bias, &DA::q_bias},
    {{"self_attn.q_norm.weight", head_dim, none, ones, 0, qk_norm}, &A::q_norm, &DA::q_norm},
    {{"self_attn.k_proj.weight", kv, hidden, normal, 1}, &A::k, &DA::k},
    {{"self_attn.k_proj.bias", kv, none, zeros, 0, qkv_bias}, &A::k_bias, &DA::k_bias},
    {{"self_attn.k_norm.weight", head_dim, none, ones, 0, qk_norm}, &A::k_norm, &DA::k_norm},
    {{"self_attn.v_proj.weight", kv, hidden, normal, 2}, &A::v, &DA::v},
    {{"self_attn.v_proj.bias", kv, none, zeros, 0, qkv_bias}, &A::v_bias, &DA::v_bias},
    {{"self_attn.o_proj.weight", hidden, q, normal, 3}, &A::o, &DA::o},
    {{"self_attn.o_proj.bias", hidden, none, zeros, 0, o_bias}, &A::o_bias, &DA::o_bias},
    {{"post_attention_layernorm.weight", hidden, none, ones, 0, post_norms}, &A::post_norm, &DA::post_norm},
});
inline constexpr auto feed_forward = std::to_array<LayerTensor<FfnTensors>>({
    {{"post_attention_layernorm.weight", hidden, none, ones, 0, nullptr, post_norms}, &F::norm, &DF::norm},
    {{"pre_feedforward_layernorm.weight", hidden, none, ones, 0, post_norms}, &F::pre_norm, &DF::pre_norm},
    {{"mlp.gate_proj.weight", ffn, hidden, normal, 4}, &F::gate, &DF::gate},
    {{"mlp.gate_proj.bias", ffn, none, zeros, 0, mlp_bias}, &F::gate_bias, &DF::gate_bias},
    {{"mlp.up_proj.weight", ffn, hidden, normal, 5}, &F::up, &DF::up},
    {{"mlp.up_proj.bias", ffn, none, zeros, 0, mlp_bias}, &F::up_bias, &DF::up_bias},
    {{"mlp.down_proj.weight", hidden, ffn, normal, 6}, &F::down, &DF::down},
    {{"mlp.down_proj.bias", hidden, none, zeros, 0, mlp_bias}, &F::down_bias, &DF::down_bias},
    {{"mlp.gate.weight", experts, hidden, normal, 9}, &F::router, &DF::router},
    {{"post_feedforward_layernorm.weight", hidden, none, ones, 0, post_norms}, &F::post_norm, &DF::post_norm},
});
/// Of each expert, by names behind "model.layers.3.mlp.experts.7.".
inline constexpr auto expert = std::to_array<LayerTensor<ExpertTensors>>({
    {{"gate_proj.weight", ffn, hidden, normal, 10}, &E::gate, &DE::gate},
    {{"up_proj.weight", ffn, hidden, normal, 11}, &E::up, &DE::up},
    {{"down_proj.weight", hidden, ffn, normal, 12}, &E::down, &DE::down},
});

inline constexpr TensorSpec embedding = {"model.embed_tokens.weight", vocabulary, hidden, normal, 7};
inline constexpr TensorSpec final_norm = {"model.norm.weight", hidden, none, ones};
inline constexpr TensorSpec head = {"lm_head.weight", vocabulary, hidden, normal, 8};

/// Whether no two tensors begin with the same random numbers.
consteval bool streams_differ() {
  std::uint32_t seen = 0;
  bool differ = true;
  const auto look = [&](const TensorSpec& spec) {
    if (spec.initial != normal) return;
    differ = differ && (seen & 1u << spec.stream) == 0;
    seen |= 1u << spec.stream;
  };
  for (const auto& tensor : attention) look(tensor.spec);
  for (const auto& tensor : feed_forward) look(tensor.spec);
  for (const auto& tensor : expert) look(tensor.spec);
  look(embedding);
  look(head);
  return differ;
}
static_assert(streams_differ());
}  // namespace layer_tensors

/// The table of either part of a layer.
template <typename T>
constexpr const auto& tensors_of(const AttentionTensors<T>&) {
  return layer_tensors::attention;
}
template <typename T>
constexpr const auto& tensors_of(const FfnTensors<T>&) {
  return layer_tensors::feed_forward;
}

template <typename T>
constexpr const auto& tensors_of(const ExpertTensors<T>&) {
  return layer_tensors::expert;
}

/// "model.layers.3." and a name behind it.
std::string layer_tensor_name(std::int64_t layer, std::string_view name);
/// The same of an expert: "model.layers.3.mlp.experts.7." and a name behind it. `no_expert`: of the layer.
constexpr std::int64_t no_expert = -1;
std::string layer_tensor_name(std::int64_t layer, std::int64_t expert, std::string_view name);

/// What there is of each axis, of a whole layer or of a part of it.
class Extents {
 public:
  /// So many heads, columns and experts, all of them, and all ids.
  Extents(const HfConfig& config, std::int64_t heads, std::int64_t kv_heads, std::int64_t columns,
          std::int64_t experts = 0);
  Extents(const HfConfig& config, const LayerShape& shape)
      : Extents(config, shape.heads(), shape.kv_heads, shape.columns, std::ssize(shape.experts)) {}
  /// A shard's part of a layer of the whole model `config`, and of its ids.
  Extents(const HfConfig& config, const LayerPart& part, const Range& ids = {});
  /// Columns of an expert.
  static Extents of_expert(const HfConfig& config, const Range& columns) {
    return Extents(config, LayerPart{{}, {}, columns});
  }

  const Range& of(Axis axis) const { return ranges_[static_cast<std::size_t>(axis)]; }
  Shape shape(const TensorSpec& spec) const;

 private:
  Range& at(Axis axis) { return ranges_[static_cast<std::size_t>(axis)]; }

  std::array<Range, static_cast<std::size_t>(Axis::count)> ranges_{};
};

}  // namespace galapagos
