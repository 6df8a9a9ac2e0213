#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// Memory of the host that something else owns, page-locked for the GPU of this process, so that copies from
/// it take no way round through the driver's memory and nobody waits for them.
class PageLock {
 public:
  PageLock() = default;
  /// `memory` must outlive this. Nothing is locked for a device that is no GPU, or where the driver refuses:
  /// copies are only slower then, and the log says so.
  PageLock(std::span<std::byte> memory, Device device, const std::string& purpose);
  PageLock(PageLock&& other) noexcept : locked_(std::exchange(other.locked_, {})) {}
  PageLock& operator=(PageLock&& other) noexcept {
    std::swap(locked_, other.locked_);
    return *this;
  }
  ~PageLock();

  bool held() const { return !locked_.empty(); }

 private:
  std::span<std::byte> locked_;
};

}  // namespace galapagos
