#pragma once

#include <span>
#include <string>
#include <vector>

#include <galapagos/model/forward.hpp>

namespace galapagos {

/// The residual stream of a rank's batches between two modules, [tokens, hidden] fp32 in host memory.
class ResidualStream {
 public:
  /// Uninitialised. ResourceError, naming the purpose, where there is not enough memory.
  ResidualStream(std::span<const Batch> batches, std::int64_t hidden, const std::string& purpose);

  /// The states of a batch into out [t, hidden] on any device, or from there.
  void load(std::size_t batch, const Tensor& out) const;
  void store(std::size_t batch, const Tensor& states);

 private:
  Tensor rows(std::size_t batch) const;

  OwnedTensor states_;
  std::vector<std::int64_t> first_;  // row of each batch, and the end
};

}  // namespace galapagos
