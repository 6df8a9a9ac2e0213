#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// The angle per position of each pair of a head that is turned; `in_long`: in sequences that are longer than
/// the model was first trained with.
std::vector<float> rope_frequencies(const RopeSettings& rope, std::int64_t head_dim, bool in_long = false);

/// Turns heads by their positions. Where that depends on the length of the text, each sequence is turned as
/// transformers turns it by itself (in a batch it goes by the longest).
class Rope {
 public:
  Rope(const RopeSettings& settings, std::int64_t head_dim, Device device);

  /// q and k as for ops::rope; of sequences that begin at `starts`, how long each is going to be.
  void turn(const ops::Context& context, const Tensor& q, const Tensor& k,
            std::span<const std::int64_t> offsets, std::span<const std::int64_t> starts = {},
            std::span<const std::int64_t> lengths = {}) const;
  /// Gradients by what turn() makes become those by what it was given.
  void turn_back(const ops::Context& context, const Tensor& d_q, const Tensor& d_k,
                 std::span<const std::int64_t> offsets) const;

 private:
  void in_runs(const Tensor& q, const Tensor& k, std::span<const std::int64_t> offsets,
               std::span<const std::int64_t> lengths, const auto& turn) const;

  RopeSettings settings_;
  std::int64_t head_dim_;
  OwnedTensor short_, long_;  // [pairs] fp32; long_ is empty where it is the same
};

}  // namespace galapagos
