#include <galapagos/core/error.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, DType precision, Device device)
      : checkpoint_(checkpoint), precision_(precision), device_(device) {}

  /// Rows of a matrix.
  OwnedTensor rows(const std::string& name, const Shape& shape, const Range& range) const {
    const Shape part{range.count(), shape[1]};
    if (device_ != Device::cpu) {
      // What a GPU gets as it is stored needs no memory of the host.
      const auto stored =
          checkpoint_.rows_in_file(name, {shape[0], shape[1]}, range.first, range.last, precision_);
      if (stored) {
        const Tensor in_file{const_cast<std::byte*>(stored->data()), part, precision_, Device::cpu};
        check(in_file, name);
        return copy_of(in_file, device_, name);
      }
    }
    OwnedTensor host(part, precision_, Device::cpu, name);
    checkpoint_.read_rows(name, {shape[0], shape[1]}, range.first, range.last, precision_,
                          {host->data, host->bytes()});
    return checked(std::move(host), name);
  }

  OwnedTensor columns(const std::string& name, const Shape& shape, const Range& range) const {
    if (range == Range{0, shape[1]}) return rows(name, shape, {0, shape[0]});
    OwnedTensor host({shape[0], range.count()}, precision_, Device::cpu, name);
    checkpoint_.read_columns(name, {shape[0], shape[1]}, range.first, range.last, precision_,
                             {host->data, host->bytes()});
    return checked(std::move(host), name);
  }

  /// Norms and biases stay in fp32: they are small and everything passes through them.
  OwnedTensor vector(const std::string& name, std::int64_t length, const Range& range) const {
    const std::vector<float> values = checkpoint_.read_float(name, {length});
    OwnedTensor host({range.count()}, DType::f32, Device::cpu, name);
    convert_from_float(std::span(values).subspan(static_cast<std::size_t>(range.first),
                                                 static_cast<std::size_t>(range.count())),
                       DType::f32, host->data);
    return checked(std::move(host), name);
  }
  /// What `part` has of a tensor.
  OwnedTensor tensor(const std::string& name, const TensorSpec& spec, const Extents& whole,
                     const Extents& part) const {
    const Shape shape = whole.shape(spec);
    if (spec.vector()) return vector(name, shape[0], part.of(spec.rows));
    return spec.slicing() == Slicing::columns ? columns(name, shape, part.of(spec.columns))
                                              : rows(name, shape, part.of(spec.rows));
  }

 private:
  void check(const Tensor& host, const std::string& name) const {
    if (ops::all_finite(ops::Context(Device::cpu), host)) return;
    throw InputError("tensor '" + name + "' holds NaN or infinity", checkpoint_.folder().string(),
                     "repair or replace the checkpoint");
  }

  OwnedTensor checked(OwnedTensor host, const std::string& name) const {
    check(host, name);
    return device_ == Device::cpu ? std::move(host) : copy_of(host, device_, name);
  }

  const Checkpoint& checkpoint_;
  DType precision_;
  Device device_;
};

std::int64_t elements_of(const HfConfig& config, const LayerShape& shape, const Extents& extents,
                         const auto& table) {
  std::int64_t sum = 0;
  for (const auto& tensor : table)
    if (tensor.spec.present(config, shape)) sum += extents.shape(tensor.spec).elements();
  return sum;
}

}  // namespace

LayerWeights make_layer(const HfConfig& config, std::int64_t layer, const LayerPart& part,
                        const MakeTensor& make) {
  const LayerShape& shape = config.shape(layer);
  const Extents whole(config, shape), own(config, part);
  LayerShape own_shape = part_of_layer(shape, part);
  LayerWeights weights;
  const auto fill = [&](auto& tensors) {
    for (const auto& [spec, weight, gradient] : tensors_of(tensors))
      if (spec.present(config, shape)) tensors.*weight = make(spec, no_expert, whole, own);
  };
  if (shape.heads() > 0) {
    weights.attention.kind = config.attention_kind(layer);
    weights.attention.kv_heads = own_shape.kv_heads;
    weights.attention.kv_of_head = std::move(own_shape.kv_of_head);
    fill(weights.attention);
  }
  if (shape.columns > 0) {
    weights.ffn.columns = own_shape.columns;
    fill(weights.ffn);
    const std::vector<Range> parts = parts_of_experts(shape, part.columns);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto expert = std::make_shared<ExpertWeights>();
      expert->columns = parts[i].count();
      const Extents all = Extents::of_expert(config, {0, shape.experts[i]}),
                    mine = Extents::of_expert(config, parts[i]);
      for (const auto& [spec, weight, gradient] : layer_tensors::expert)
        if (expert->columns > 0) (*expert).*weight = make(spec, static_cast<std::int64_t>(i), all, mine);
      weights.ffn.experts.push_back(expert);
    }
  }
  return weights;
}

LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        DType precision, Device device) {
  return load_layer(checkpoint, config, layer, whole_layer(config.shape(layer)), precision, device);
}

LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        const LayerPart& part, DType precision, Device device) {
  const Loader load(checkpoint, precision, device);
  return make_layer(
      config, layer, part,
      [&](const TensorSpec& spec, std::int64_t expert, const Extents& whole, const Extents& own) {
        return load.tensor(layer_tensor_name(layer, expert, spec.name), spec, whole, own);
      });
}

OwnedTensor load_embedding(const Checkpoint& checkpoint, const HfConfig& config, const Range& ids,
                           DType precision, Device device) {
  return Loader(checkpoint, precision, device)
      .rows(layer_tensors::embedding.name, {config.vocab_size, config.hidden_size}, ids);
}

HeadWeights load_head(const Checkpoint& checkpoint, const HfConfig& config, const Range& ids, DType precision,
                      Device device) {
  const Loader load(checkpoint, precision, device);
  const TensorSpec& head = config.tie_word_embeddings ? layer_tensors::embedding : layer_tensors::head;
  return {load.vector(layer_tensors::final_norm.name, config.hidden_size, {0, config.hidden_size}),
          load.rows(head.name, {config.vocab_size, config.hidden_size}, ids)};
}

std::int64_t attention_parameters(const HfConfig& config, std::int64_t heads, std::int64_t kv_heads) {
  return heads == 0 ? 0
                    : elements_of(config, {}, Extents(config, heads, kv_heads, 0), layer_tensors::attention);
}

std::int64_t ffn_parameters(const HfConfig& config, std::int64_t columns) {
  return columns == 0 ? 0
                      : elements_of(config, {}, Extents(config, 0, 0, columns), layer_tensors::feed_forward);
}

std::int64_t mixture_parameters(const HfConfig& config, std::span<const std::int64_t> experts) {
  if (experts.empty()) return 0;
  LayerShape shape;
  shape.experts.assign(experts.begin(), experts.end());
  // Without the rows of the router, which are counted with the experts.
  std::int64_t sum = elements_of(config, shape, Extents(config, 0, 0, 0), layer_tensors::feed_forward);
  for (const std::int64_t columns : experts) sum += expert_parameters(config, columns);
  return sum;
}

std::int64_t expert_parameters(const HfConfig& config, std::int64_t columns) {
  std::int64_t sum = config.hidden_size;
  const Extents extents = Extents::of_expert(config, {0, columns});
  for (const auto& tensor : layer_tensors::expert) sum += extents.shape(tensor.spec).elements();
  return sum;
}

std::int64_t layer_parameters(const HfConfig& config, const LayerShape& shape) {
  const std::int64_t ffn =
      shape.mixture() ? mixture_parameters(config, shape.experts) : ffn_parameters(config, shape.columns);
  return attention_parameters(config, shape.heads(), shape.kv_heads) + ffn;
}

std::int64_t parameters_in_layers(const HfConfig& config) {
  std::int64_t sum = 0;
  for (const LayerShape& shape : config.layer_shapes) sum += layer_parameters(config, shape);
  return sum;
}

std::int64_t embedding_parameters(const HfConfig& config) {
  return config.vocab_size * config.hidden_size;
}

std::int64_t head_parameters(const HfConfig& config) {
  return config.hidden_size + (config.tie_word_embeddings ? 0 : config.vocab_size * config.hidden_size);
}

std::int64_t parameters_outside_layers(const HfConfig& config) {
  return embedding_parameters(config) + head_parameters(config);
}

std::int64_t parameters_in_model(const HfConfig& config) {
  return parameters_in_layers(config) + parameters_outside_layers(config);
}

}  // namespace galapagos
