#include <galapagos/tensor/staging_buffer.hpp>

namespace galapagos {

std::span<std::byte> StagingBuffer::reserve(std::size_t bytes, Device partner, const std::string& purpose) {
  if (partner == Device::cuda) {
    if (locked_.bytes().size() < bytes) {
      locked_ = {};  // first, or there would be two for a while
      locked_ = MessageBuffer(bytes, Device::cpu, purpose);
    }
    return locked_.bytes().first(bytes);
  }
  if (plain_.bytes() < bytes) {
    plain_ = {};
    plain_ = Buffer(bytes, Device::cpu, purpose);
  }
  return {plain_.data(), bytes};
}

}  // namespace galapagos
