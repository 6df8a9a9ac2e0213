#include <galapagos/model/model_weights.hpp>

namespace galapagos {
namespace {

/// Calls visit(spec, expert, tensor, place of its gradient) for every parameter of a layer.
void visit_layer(const LayerWeights& layer, LayerGradients& gradients, const auto& visit) {
  const auto visit_part = [&](const auto& tensors, auto& of, std::int64_t expert) {
    for (const auto& [spec, weight, gradient] : tensors_of(of))
      visit(spec, expert, tensors.*weight, of.*gradient);
  };
  visit_part(layer.attention, gradients.attention, no_expert);
  visit_part(layer.ffn, gradients.ffn, no_expert);
  gradients.experts.resize(layer.ffn.experts.size());
  for (std::size_t expert = 0; expert < gradients.experts.size(); ++expert)
    visit_part(*layer.ffn.experts[expert], gradients.experts[expert], static_cast<std::int64_t>(expert));
}

}  // namespace

ModelWeights load_model_weights(const ModelSource& source) {
  ModelWeights weights;
  for (std::int64_t layer = 0; layer < source.config.layers; ++layer)
    weights.layers.push_back(source.layer(layer));
  weights.embedding = source.embedding();
  HeadWeights head = source.head();
  weights.norm = std::move(head.norm);
  if (!source.config.tie_word_embeddings) weights.head = std::move(head.head);
  return weights;
}

std::vector<NamedTensor> parameters_of(const ModelWeights& weights) {
  std::vector<NamedTensor> parameters;
  const auto add = [&](const TensorSpec& spec, std::string name, const OwnedTensor& tensor) {
    if (!tensor->empty()) parameters.push_back({std::move(name), tensor, spec.slicing()});
  };
  const auto add_outer = [&](const TensorSpec& spec, const OwnedTensor& tensor) {
    add(spec, spec.name, tensor);
  };
  add_outer(layer_tensors::embedding, weights.embedding);
  LayerGradients unused;
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    visit_layer(weights.layers[layer], unused,
                [&](const TensorSpec& spec, std::int64_t expert, const OwnedTensor& tensor, const Tensor&) {
                  add(spec, layer_tensor_name(static_cast<std::int64_t>(layer), expert, spec.name), tensor);
                });
  }
  add_outer(layer_tensors::final_norm, weights.norm);
  add_outer(layer_tensors::head, weights.head);
  return parameters;
}

Gradients::Gradients(const ModelWeights& weights, Device device) {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : parameters_of(weights)) count += parameter.tensor.elements();
  all_ = OwnedTensor({count}, DType::f32, device, "gradients");
  fill_zero(all_);
  std::int64_t used = 0;
  const auto place = [&](const OwnedTensor& tensor, Tensor& gradient) {
    if (tensor->empty()) return;
    gradient = all_->slice(used, tensor->elements()).view(tensor->shape);
    used += tensor->elements();
  };
  place(weights.embedding, embedding_);
  layers_.resize(weights.layers.size());
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    visit_layer(weights.layers[layer], layers_[layer],
                [&](const TensorSpec& spec, std::int64_t, const OwnedTensor& tensor, Tensor& gradient) {
                  place(tensor, gradient);
                  if (spec.partial_gradient() && !tensor->empty()) partial_.push_back(gradient);
                });
  }
  std::int64_t partial = 0;
  for (const Tensor& gradient : partial_) partial += gradient.elements();
  packed_partial_ = OwnedTensor({partial}, DType::f32, device, "gradients summed over shards");
  place(weights.norm, norm_);
  place(weights.head, head_);
}

Gradients Gradients::of_outputs(const ModelWeights& weights, Device device) {
  std::int64_t count = 0;
  for (const LayerWeights& layer : weights.layers)
    count += layer.attention.o->elements() + layer.ffn.down->elements() + layer.attention.o_bias->elements() +
             layer.ffn.down_bias->elements();
  Gradients gradients;
  gradients.all_ = OwnedTensor({count}, DType::f32, device, "gradients");
  fill_zero(gradients.all_);
  std::int64_t used = 0;
  const auto place = [&](const OwnedTensor& tensor, Tensor& gradient) {
    if (tensor->empty()) return;
    gradient = gradients.all_->slice(used, tensor->elements()).view(tensor->shape);
    used += tensor->elements();
  };
  for (const LayerWeights& layer : weights.layers) {
    LayerGradients& of_layer = gradients.layers_.emplace_back();
    place(layer.attention.o, of_layer.attention.o);
    place(layer.ffn.down, of_layer.ffn.down);
    place(layer.attention.o_bias, of_layer.attention.o_bias);
    place(layer.ffn.down_bias, of_layer.ffn.down_bias);
  }
  return gradients;
}

}  // namespace galapagos
