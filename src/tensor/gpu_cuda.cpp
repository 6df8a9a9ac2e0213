#include <algorithm>
#include <cuda_runtime.h>

#include <galapagos/tensor/cuda_stream.hpp>
#include <galapagos/tensor/gpu.hpp>

namespace galapagos {

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
    std::copy_n(properties.uuid.bytes, gpu.uuid.size(), reinterpret_cast<char*>(gpu.uuid.data()));
    gpu.name = properties.name;
    gpu.bytes = properties.totalGlobalMem;
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

void use_gpu(int index) {
  check_cuda(cudaSetDevice(index), "cudaSetDevice");
}

}  // namespace galapagos
