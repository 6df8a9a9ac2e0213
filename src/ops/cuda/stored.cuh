#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <type_traits>

#include <galapagos/tensor/tensor.hpp>

// Values as they are stored, and as they are computed with.
namespace galapagos::ops::cuda {

__device__ inline float widen(float value) {
  return value;
}
__device__ inline float widen(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__device__ inline float widen(__half value) {
  return __half2float(value);
}

template <typename T>
__device__ inline T narrow(float value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else {
    return value;
  }
}

/// Calls work with a null pointer to the type of which `type` speaks.
template <typename Work>
void with_stored(DType type, const Work& work) {
  switch (type) {
    case DType::f32:
      return work(static_cast<const float*>(nullptr));
    case DType::bf16:
      return work(static_cast<const __nv_bfloat16*>(nullptr));
    case DType::f16:
      return work(static_cast<const __half*>(nullptr));
  }
}

template <typename T>
T* data_as(const Tensor& tensor) {
  return reinterpret_cast<T*>(tensor.data);
}

}  // namespace galapagos::ops::cuda
