#pragma once

#include <cstddef>

namespace galapagos {

/// How values get from where tensors lie into host memory that MPI can read, and back. Copies run in the
/// order in which they are asked for, beside the host and beside what is computed.
class Staging {
 public:
  static constexpr int places = 2;

  virtual ~Staging() = default;
  /// fp32 values that each place has room for.
  virtual std::size_t piece() const = 0;
  virtual float* host(int place) = 0;

  /// Copies asked for from now on see what has been computed so far.
  virtual void begin() = 0;
  /// To, and from, `at` bytes behind the beginning of the place.
  virtual void copy_down(const std::byte* from, int place, std::size_t at, std::size_t bytes) = 0;
  virtual void copy_up(int place, std::size_t at, std::byte* to, std::size_t bytes) = 0;
  /// The host waits for the last copy down to `place`, and for all that was asked for before it.
  virtual void wait_down(int place) = 0;
  /// What is computed from now on sees the copies asked for so far.
  virtual void end() = 0;
  /// The host waits for all copies.
  virtual void wait() noexcept = 0;
};

}  // namespace galapagos
