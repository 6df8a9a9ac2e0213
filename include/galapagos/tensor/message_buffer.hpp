#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// Memory that MPI is handed in place of a tensor's on a GPU. On the host it is page-locked where that can be
/// had, as copies are faster then. On a GPU it is none of the pool's: an MPI library maps a message's memory
/// into other processes, which a pool refuses (openucx/ucx issue 7110).
class MessageBuffer {
 public:
  MessageBuffer() = default;
  /// ResourceError, naming the purpose, where there is not enough.
  MessageBuffer(std::size_t bytes, Device device, const std::string& purpose);
  MessageBuffer(MessageBuffer&& other) noexcept
      : foreign_(std::exchange(other.foreign_, {})),
        pageable_(std::move(other.pageable_)),
        device_(other.device_) {}
  MessageBuffer& operator=(MessageBuffer&& other) noexcept {
    std::swap(foreign_, other.foreign_);
    std::swap(pageable_, other.pageable_);
    std::swap(device_, other.device_);
    return *this;
  }
  ~MessageBuffer();

  Device device() const { return device_; }
  std::span<std::byte> bytes() const {
    return foreign_.empty() ? std::span(pageable_.data(), pageable_.bytes()) : foreign_;
  }

 private:
  std::span<std::byte> foreign_;  // of CUDA: page-locked or on the GPU
  Buffer pageable_;
  Device device_ = Device::cpu;
};

}  // namespace galapagos
