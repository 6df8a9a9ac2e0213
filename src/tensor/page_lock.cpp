#include "device.hpp"

#include <exception>

#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/tensor/page_lock.hpp>

namespace galapagos {

PageLock::PageLock(std::span<std::byte> memory, Device device, const std::string& purpose) {
  if (device != Device::cuda || memory.empty()) return;
  if (device::cuda_lock_pages(memory.data(), memory.size())) {
    locked_ = memory;
  } else {
    log_info("the GPU's driver does not lock {} of {} in memory: copies from there are slower",
             human_bytes(memory.size()), purpose);
  }
}

PageLock::~PageLock() {
  // On the way of an exception the GPU may never be done with what it was given.
  if (held() && std::uncaught_exceptions() == 0) device::cuda_unlock_pages(locked_.data());
}

}  // namespace galapagos
