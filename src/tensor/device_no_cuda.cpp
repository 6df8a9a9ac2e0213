#include "device.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/tensor/gpu.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {
namespace {

[[noreturn]] void refuse() {
  throw ResourceError("this build has no CUDA", "--backend cuda",
                      "build with the preset 'cuda' or use --backend cpu");
}

}  // namespace

namespace device {

std::byte* cuda_allocate(std::size_t, const std::string&) {
  refuse();
}
void cuda_free(std::byte*) noexcept {}
std::byte* cuda_allocate_unpooled(std::size_t, const std::string&) {
  refuse();
}
void cuda_free_unpooled(std::byte*) noexcept {}
void cuda_copy(std::byte*, Device, const std::byte*, Device, std::size_t) {
  refuse();
}
void cuda_zero(std::byte*, std::size_t) {
  refuse();
}

void cuda_synchronise() {
  refuse();
}
std::byte* cuda_allocate_pinned(std::size_t) {
  return nullptr;
}
void cuda_free_pinned(std::byte*) noexcept {}
bool cuda_lock_pages(std::byte*, std::size_t) {
  return false;
}
void cuda_unlock_pages(std::byte*) noexcept {}

}  // namespace device

std::vector<Gpu> visible_gpus() {
  return {};
}
FreeGpuMemory free_gpu_memory() {
  refuse();
}
void use_gpu(int) {
  refuse();
}

bool built_with_cuda() {
  return false;
}
std::string cuda_version() {
  return "none";
}

}  // namespace galapagos
