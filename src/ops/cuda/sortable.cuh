#pragma once

#include <cstdint>
#include <cuda_runtime.h>

namespace galapagos::ops::cuda {

/// A number that sorts as the float does: negative numbers have their bits turned round.
__device__ inline std::uint32_t sortable(float value) {
  const auto bits = static_cast<std::uint32_t>(__float_as_int(value));
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ inline float from_sortable(std::uint32_t key) {
  const std::uint32_t bits = (key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key;
  return __int_as_float(static_cast<int>(bits));
}

}  // namespace galapagos::ops::cuda
