#include "device.hpp"

#include <galapagos/tensor/pinned.hpp>

namespace galapagos {

PinnedBuffer::PinnedBuffer(std::size_t bytes, const std::string& purpose) {
  if (bytes == 0) return;
  if (std::byte* locked = device::cuda_allocate_pinned(bytes); locked != nullptr) {
    locked_ = {locked, bytes};
  } else {
    pageable_ = Buffer(bytes, Device::cpu, purpose);
  }
}

PinnedBuffer::~PinnedBuffer() {
  if (!locked_.empty()) device::cuda_free_pinned(locked_.data());
}

}  // namespace galapagos
