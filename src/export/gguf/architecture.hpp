#pragma once

#include "../fit.hpp"
#include "file.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/export/gguf_type.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos::gguf {

/// One of llama.cpp's architectures, by what it has that a pruned model may need.
struct Architecture {
  const char* name;
  bool uneven = false;       ///< layers may differ in heads, KV heads and columns
  bool interleaved = false;  ///< turns the elements 2i and 2i + 1 of a head together, where Hugging Face's
                             ///< models turn i and i + n
  bool fused = false;        ///< q, k and v are one matrix
  bool frequencies = false;  ///< takes factors for the frequencies of its rope, and has biases
  bool empty_parts = false;  ///< a layer may lack attention
  bool mixed = false;        ///< layers may be dense, or mixtures of different numbers of experts
  bool half_turned = false;  ///< turns half of the elements that it is told to
  bool untied = false;       ///< takes no output head from the embedding
};

/// Columns of zeros in a layer that has none left: llama.cpp computes layers without a feed-forward part
/// wrongly, or crashes in the last one.
constexpr std::int64_t zero_columns = 32;

/// The one for a model: `deci` for all families without norms on heads; of those with such `openelm`, which
/// takes the output head from the embedding, and for untied models `qwen3`, whose layers are all alike. That
/// of mixtures is found in mixture.hpp. InputError where llama.cpp has none that computes the model.
const Architecture& architecture_of(const HfConfig& config);

/// Whether the architecture turns heads as the settings have it.
bool knows_rope(const Architecture& architecture, const RopeSettings& rope);

/// The next multiple of `of`.
constexpr std::int64_t multiple(std::int64_t count, std::int64_t of) {
  return (count + of - 1) / of * of;
}

/// The layers as the architecture can hold them, with columns in multiples of `columns`.
std::vector<LayerFit> fits_of(const Architecture& architecture, const HfConfig& config, std::int64_t columns);

/// Tokens up to which the file computes what the model does.
std::int64_t context_of(const HfConfig& config);

/// Sets what a file says of the architecture.
void describe_architecture(Metadata& metadata, const Architecture& architecture, const HfConfig& config,
                           std::span<const LayerFit> fits);

/// What the frequencies of its rope are to be divided by ("rope_freqs.weight" and the like), by the names of
/// tensors; none where they are the usual.
std::vector<std::pair<std::string, std::vector<float>>> rope_factors(const Architecture& architecture,
                                                                     const HfConfig& config);

}  // namespace galapagos::gguf
