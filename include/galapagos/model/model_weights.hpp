#pragma once

#include <span>
#include <string>
#include <vector>

#include <galapagos/model/source.hpp>

namespace galapagos {

/// All weights of a model. Matrices have a working precision, norms and biases are fp32.
struct ModelWeights {
  std::vector<LayerWeights> layers;
  OwnedTensor embedding;
  OwnedTensor norm;  ///< of the last hidden states
  OwnedTensor head;  ///< empty where it is the embedding

  /// The output head [vocabulary, hidden], whichever tensor it is.
  const Tensor& output() const { return head->empty() ? embedding.view() : head.view(); }
};

/// Errors as the source's.
ModelWeights load_model_weights(const ModelSource& source);

struct NamedTensor {
  std::string name;  ///< in the checkpoint
  Tensor tensor;
  Slicing slicing = Slicing::none;  ///< among shards
};

/// Every parameter once, in the order of the model; a tied head is the embedding.
std::vector<NamedTensor> parameters_of(const ModelWeights& weights);

/// Where the gradients of a layer go; everything is empty where the layer has no such part.
struct LayerGradients {
  AttentionTensors<Tensor> attention;
  FfnTensors<Tensor> ffn;
  std::vector<ExpertTensors<Tensor>> experts;  ///< of a mixture
};

/// The gradients of all parameters, or of some, fp32, in one piece of memory in the order of parameters_of().
class Gradients {
 public:
  Gradients(const ModelWeights& weights, Device device);
  /// Of every o_proj and down_proj alone, and of their biases; all others are empty.
  static Gradients of_outputs(const ModelWeights& weights, Device device);

  const Tensor& all() const { return all_.view(); }
  /// Those of which each shard has but a term: see TensorSpec::partial_gradient().
  std::span<const Tensor> partial() const { return partial_; }
  /// Room for those, one after the other.
  const Tensor& packed_partial() const { return packed_partial_; }
  const LayerGradients& layer(std::size_t index) const { return layers_[index]; }
  const Tensor& embedding() const { return embedding_; }
  const Tensor& norm() const { return norm_; }
  const Tensor& output() const { return head_.empty() ? embedding_ : head_; }

 private:
  Gradients() = default;

  OwnedTensor all_;
  std::vector<LayerGradients> layers_;
  Tensor embedding_, norm_, head_;
  std::vector<Tensor> partial_;
  OwnedTensor packed_partial_;
};

}  // namespace galapagos
