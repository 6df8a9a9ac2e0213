#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include <galapagos/core/write_behind.hpp>
#include <galapagos/tensor/staging_buffer.hpp>

namespace galapagos {

/// Tensors of any device on their way to a file: copied into one of two buffers of the host, from which the
/// thread behind writes and hashes them.
class StagedWriter {
 public:
  /// `most`: bytes of the largest tensor.
  StagedWriter(std::unique_ptr<WriteBehind> thread, std::size_t most)
      : most_(most), thread_(std::move(thread)) {}

  WriteBehind& thread() { return *thread_; }
  /// Returns once the tensor is copied, which waits for the writing of the one before the last. Its Hash64
  /// goes to `hash_offset`.
  void write(const Tensor& tensor, std::uint64_t offset, std::uint64_t hash_offset);

 private:
  struct Slot {
    StagingBuffer buffer;
    WriteBehind::Loan loan = 0;
  };

  std::size_t most_;
  std::array<Slot, 2> slots_;
  std::size_t next_ = 0;
  std::unique_ptr<WriteBehind> thread_;  // ends before the slots, from which it may still be writing
};

}  // namespace galapagos
