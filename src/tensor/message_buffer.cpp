#include "device.hpp"

#include <galapagos/tensor/message_buffer.hpp>

namespace galapagos {

MessageBuffer::MessageBuffer(std::size_t bytes, Device device, const std::string& purpose) : device_(device) {
  if (bytes == 0) return;
  if (device == Device::cuda) {
    foreign_ = {device::cuda_allocate_unpooled(bytes, purpose), bytes};
  } else if (std::byte* locked = device::cuda_allocate_pinned(bytes); locked != nullptr) {
    foreign_ = {locked, bytes};
  } else {
    pageable_ = Buffer(bytes, Device::cpu, purpose);
  }
}

MessageBuffer::~MessageBuffer() {
  if (foreign_.empty()) return;
  if (device_ == Device::cuda) {
    device::cuda_free_unpooled(foreign_.data());
  } else {
    device::cuda_free_pinned(foreign_.data());
  }
}

}  // namespace galapagos
