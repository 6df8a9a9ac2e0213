#pragma once

#include "../fit.hpp"
#include "architecture_kind.hpp"
#include "file.hpp"
#include "tensors.hpp"

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/io/hf_config.hpp>

// What a file says of mixtures of experts. A layer with a single expert left is a dense one: every token goes
// to it, with the weight 1.
namespace galapagos::gguf {

/// The one for a mixture: where all layers are mixtures of as many experts, with as many heads, the family's
/// own, `qwen3moe` or, without norms on heads, `llama`; else `step35`, which can be told which experts are
/// never to be chosen. InputError where neither computes the model.
const Architecture& mixture_architecture(const HfConfig& config);

/// The layers as the architecture can hold them: all experts as wide as the widest, a multiple of `columns`,
/// and in each mixture as many as in the one with most.
std::vector<LayerFit> mixture_fits(const Architecture& architecture, const HfConfig& config,
                                   std::int64_t columns);

/// Sets what a file says of experts and dense layers.
void describe_mixture(Metadata& metadata, const Architecture& architecture, const HfConfig& config,
                      std::span<const LayerFit> fits);

/// What the architecture wants of each mixture besides the model's own tensors.
std::vector<FileTensor> mixture_tensors(const Architecture& architecture, const HfConfig& config,
                                        std::span<const LayerFit> fits);

}  // namespace galapagos::gguf
