#pragma once

#include "tensors.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/model/replicas.hpp>

namespace galapagos {

/// Collective. Makes a new Hugging Face folder of the given tensors, the same on every rank, cut into files
/// of at most `shard_bytes` (or one tensor); the ranks write a part of the files each, and where a replica's
/// shards have parts of the tensors, those of `grid` bring a file's tensors together on the one of them that
/// writes it. `device`: which their bytes come from. `accompany` adds the other files, on the root; the
/// folder gets its name once all of it is there and can be read. InputError where it exists already,
/// ResourceError where the disk is too small.
void write_model_folder(const Communicator& comm, const std::filesystem::path& output,
                        std::span<const PlannedTensor> tensors, std::uint64_t shard_bytes,
                        const std::function<void(const std::filesystem::path& part)>& accompany,
                        const ReplicaGrid* grid = nullptr, Device device = Device::cpu);

/// The rank that writes each tensor, of so many that write files alone.
std::vector<int> writers_of(std::span<const PlannedTensor> tensors, std::uint64_t shard_bytes, int ranks);

/// On this rank alone. InputError and ResourceError as above, before the tensors are there to be written.
void check_model_folder(const std::filesystem::path& output, std::span<const PlannedTensor> tensors);

/// Copies a file where there is one; ResourceError on a full disk.
void copy_if_there(const std::filesystem::path& from, const std::filesystem::path& to);
/// Copies what goes along with the weights as it is: the tokenizer, the generation settings.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

/// The Python code that lets transformers load a pruned model.
void write_python_files(const std::filesystem::path& folder);

}  // namespace galapagos
