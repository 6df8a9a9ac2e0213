#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// Host memory through which values of a GPU travel: page-locked where that can be had, as copies are faster
/// then, else any.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(std::size_t bytes, const std::string& purpose);
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : locked_(std::exchange(other.locked_, {})), pageable_(std::move(other.pageable_)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(locked_, other.locked_);
    std::swap(pageable_, other.pageable_);
    return *this;
  }
  ~PinnedBuffer();

  std::span<std::byte> bytes() const {
    return locked_.empty() ? std::span(pageable_.data(), pageable_.bytes()) : locked_;
  }

 private:
  std::span<std::byte> locked_;
  Buffer pageable_;
};

}  // namespace galapagos
