#pragma once

#include <galapagos/tensor/message_buffer.hpp>

namespace galapagos {

/// Host memory that is used again and again for copies from or to a device: page-locked where that is a GPU
/// and such memory can be had, which lets the GPU copy at the speed of its link.
class StagingBuffer {
 public:
  /// `bytes` bytes for copies with `partner`; what was there before is lost where they are more than ever.
  /// ResourceError, naming the purpose, where there is not enough.
  std::span<std::byte> reserve(std::size_t bytes, Device partner, const std::string& purpose);

 private:
  MessageBuffer locked_;
  Buffer plain_;
};

}  // namespace galapagos
