#include <algorithm>
#include <cuda_runtime.h>

#include <galapagos/tensor/cuda_stream.hpp>
#include <galapagos/tensor/gpu.hpp>

namespace galapagos {

namespace {

GpuUuid uuid_of(const cudaDeviceProp& properties) {
  GpuUuid uuid{};
  std::copy_n(properties.uuid.bytes, uuid.size(), reinterpret_cast<char*>(uuid.data()));
  return uuid;
}

}  // namespace

std::vector<Gpu> visible_gpus() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  std::vector<Gpu> gpus;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
    Gpu gpu;
    gpu.uuid = uuid_of(properties);
    gpu.name = properties.name;
    gpu.bytes = properties.totalGlobalMem;
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

FreeGpuMemory free_gpu_memory() {
  int index = 0;
  check_cuda(cudaGetDevice(&index), "cudaGetDevice");
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {uuid_of(properties), free};
}

void use_gpu(int index) {
  check_cuda(cudaSetDevice(index), "cudaSetDevice");
}

}  // namespace galapagos
