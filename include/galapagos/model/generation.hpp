#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/model/generation_options.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// Collective. What the model, of which `source` has this rank's part, writes behind each prompt, in their
/// order, on the root. Prompts are dealt to the replicas; a text that ends makes room for the next. Which
/// tokens come depends neither on the ranks nor on the batch, but for the rounding of products. ResourceError
/// where a rank's memory does not do, NumericalError where the model computes no numbers.
std::vector<GeneratedText> generate(const ReplicaGrid& grid, const ops::Context& context,
                                    const ModelSource& source,
                                    const std::vector<std::vector<std::int32_t>>& prompts,
                                    const GenerationOptions& options, const TextWatch& watch = {},
                                    GenerationSpeed* speed = nullptr);

}  // namespace galapagos
