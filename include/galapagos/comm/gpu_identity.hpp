#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace galapagos {

/// What the driver calls a GPU; the same in every process that sees it.
using GpuUuid = std::array<unsigned char, 16>;

/// "GPU-01234567-89ab-...", as nvidia-smi prints it.
std::string text_of_uuid(const GpuUuid& uuid);

/// The GPU of one rank of a communicator.
struct GpuOfRank {
  std::int32_t rank = 0;             ///< in the world
  std::int32_t node = 0;             ///< the same for ranks that share memory, and only for them
  std::array<char, 64> host = {};    ///< for the message
  std::array<char, 32> bus_id = {};  ///< its place on the node; parts of one GPU (MIG) have it in common
  GpuUuid uuid = {};
};

/// Whether no two of the ranks use one GPU, or parts of one.
bool one_rank_per_gpu(std::span<const GpuOfRank> ranks);

/// ResourceError, naming ranks, hosts and UUIDs, where two of the ranks use one GPU, or parts of one: NCCL
/// would refuse them, in words of its own.
void check_one_rank_per_gpu(std::span<const GpuOfRank> ranks);

}  // namespace galapagos
