#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/model/cached_model.hpp>
#include <galapagos/model/generation_options.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// What a replica's cache holds that writes behind `texts` prompts of `prompt_tokens` in all, of which one
/// becomes `longest` tokens with what is written.
CacheExtents generation_extents(const GenerationOptions& options, std::int64_t texts,
                                std::int64_t prompt_tokens, std::int64_t longest);

/// Bytes that a rank needs for that, of which `source` has its part of a model of `vocabulary` ids.
std::uint64_t generation_bytes(const ModelSource& source, const CacheExtents& extents,
                               const Sampling& sampling, std::int64_t vocabulary, Device device,
                               DType activations);

/// Collective. What the model, of which `source` has this rank's part, writes behind each prompt, in their
/// order, on the root; nothing where options.written says so. Prompts are dealt to the replicas; a text that
/// ends makes room for the next. Which tokens come depends neither on the ranks nor on the batch, nor on
/// which texts are there already, but for the rounding of products. ResourceError where a rank's memory does
/// not do, NumericalError where the model computes no numbers, StoppedEarly where options.stops says so.
std::vector<GeneratedText> generate(const ReplicaGrid& grid, const ops::Context& context,
                                    const ModelSource& source,
                                    const std::vector<std::vector<std::int32_t>>& prompts,
                                    const GenerationOptions& options, const TextWatch& watch = {},
                                    GenerationSpeed* speed = nullptr);

}  // namespace galapagos
