#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/model_weights.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// Collective. Writes a model as a Hugging Face folder: config.json as in `config.source`, the given
/// parameters, which lie on the device of `context`, the same on every rank (or on the shards of `grid` each
/// one's slices), stored as `dtype`, and the tokenizer and the pruning's description of the folder `parent`.
/// InputError where there is something already, ResourceError where the disk is too small.
void save_model(const Communicator& comm, const ops::Context& context, const std::filesystem::path& parent,
                const HfConfig& config, std::span<const NamedTensor> parameters, DType dtype,
                const std::filesystem::path& output, std::uint64_t shard_bytes = 5ull << 30,
                const ReplicaGrid* grid = nullptr);

/// Collective. Writes a copy of a model's folder in which the tensors that any of the `changed` checkpoints
/// has are theirs. Errors as save_model(); InputError where a type or a shape is another than the parent's.
void save_changed(const Communicator& comm, const Checkpoint& parent, const HfConfig& config,
                  std::span<const Checkpoint> changed, const std::filesystem::path& output,
                  std::uint64_t shard_bytes = 5ull << 30);

}  // namespace galapagos
