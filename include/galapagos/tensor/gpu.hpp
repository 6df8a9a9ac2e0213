#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/comm/gpu_identity.hpp>

namespace galapagos {

/// A GPU as the driver knows it; its identity is the same in every process of the node.
struct Gpu {
  GpuUuid uuid{};
  std::string name;
  std::uint64_t bytes = 0;  ///< its memory
};

/// The GPUs that this process may use, in the driver's order; none in a build without CUDA or where there is
/// no driver.
std::vector<Gpu> visible_gpus();

/// Bytes that are free on the GPU of this process, and which one it is. FailureError where there is none.
struct FreeGpuMemory {
  GpuUuid uuid{};
  std::uint64_t bytes = 0;
};
FreeGpuMemory free_gpu_memory();

/// Makes visible_gpus()[index] the GPU of this process. To be called before anything is allocated there.
void use_gpu(int index);

}  // namespace galapagos
