#include "device.hpp"
#include "memory_count.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <galapagos/core/error.hpp>
#include <galapagos/core/memory_gauge.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/tensor/memory_count.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {
namespace {

constexpr std::size_t alignment = 64;

std::byte* cpu_allocate(std::size_t bytes, const std::string& purpose) {
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  if (data == nullptr) {
    throw ResourceError("no memory for " + human_bytes(bytes) + " of " + purpose, "host memory",
                        "use more ranks or nodes, or lower --memory-limit");
  }
  return static_cast<std::byte*>(data);
}

MemoryGauge& gauge_of(Device device) {
  return device == Device::cpu ? host_tensors() : gpu_tensors();
}

}  // namespace

Buffer::Buffer(std::size_t bytes, Device device, const std::string& purpose)
    : bytes_(bytes), device_(device) {
  if (bytes == 0) return;
  if (MemoryCount::counting()) {
    memory_count::add(bytes);
    return;
  }
  data_ = device == Device::cpu ? cpu_allocate(bytes, purpose) : device::cuda_allocate(bytes, purpose);
  gauge_of(device).add(bytes);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ == nullptr) {
    memory_count::remove(bytes_);
    return;
  }
  gauge_of(device_).remove(bytes_);
  if (device_ == Device::cpu) {
    std::free(data_);
  } else {
    device::cuda_free(data_);
  }
}

void copy_bytes(std::byte* to, Device to_device, const std::byte* from, Device from_device,
                std::size_t bytes) {
  if (bytes == 0 || MemoryCount::counting()) return;
  if (to_device == Device::cpu && from_device == Device::cpu) {
    std::memcpy(to, from, bytes);
  } else {
    device::cuda_copy(to, to_device, from, from_device, bytes);
  }
}

void synchronise(Device device) {
  if (device == Device::cuda) device::cuda_synchronise();
}

void fill_zero(const Tensor& tensor) {
  if (tensor.empty() || MemoryCount::counting()) return;
  if (tensor.device == Device::cpu) {
    std::memset(tensor.data, 0, tensor.bytes());
  } else {
    device::cuda_zero(tensor.data, tensor.bytes());
  }
}

}  // namespace galapagos
