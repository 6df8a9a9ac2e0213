#pragma once

#include <cstdint>
#include <functional>

#include <galapagos/model/forward.hpp>

namespace galapagos {

/// Where the gradients of the final norm and of the output head are added; empty where not asked for.
struct OutputGradients {
  Tensor norm, head;
};

/// From the last hidden states to a loss and back, a tile of tokens at a time, so that only few logits exist
/// at once; on each of several shards with its slice of the vocabulary. The references must outlive this.
class OutputPass {
 public:
  /// The loss of tokens [first, first + rows) from their logits [rows, vocabulary], which it replaces by the
  /// loss's gradient; NaN or infinity where there is none.
  using Loss = std::function<double(std::int64_t first, const Tensor& logits)>;

  OutputPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
             const Shards& shards = alone());

  /// The sum of the tiles' losses. Adds its gradient by hidden [t, hidden_size], the states before the final
  /// norm, to d_hidden, and those of the parameters to `gradients`. A loss that is not finite is returned as
  /// it is.
  double run(const Tensor& norm, const Tensor& head, const Tensor& hidden, const Tensor& d_hidden,
             const Loss& loss, const OutputGradients& gradients);

 private:
  const ops::Context& context_;
  const Shards& shards_;
  const HfConfig& config_;
  OwnedTensor normed_, d_normed_, logits_;
  OwnedTensor capped_;  // the logits, where a cap needs them on the way back
  OwnedTensor unused_;  // where the gradient of the norm goes that nobody asks for
};

}  // namespace galapagos
