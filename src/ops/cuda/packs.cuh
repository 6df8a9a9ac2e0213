#pragma once

#include "launch.cuh"
#include "stored.cuh"
#include "tuning.hpp"

#include <cstdint>

// Elementwise kernels take neighbouring values together, in accesses of up to 16 bytes; one by one where
// pointers or widths do not allow it.
namespace galapagos::ops::cuda {

template <typename T, int size>
struct alignas(sizeof(T) * size < 16 ? sizeof(T) * size : 16) Pack {
  T values[size];
};

template <int size, typename T>
__device__ inline void load_pack(const T* from, float (&to)[size]) {
  const Pack<T, size> pack = *reinterpret_cast<const Pack<T, size>*>(from);
#pragma unroll
  for (int i = 0; i < size; ++i) to[i] = widen(pack.values[i]);
}

template <int size, typename T>
__device__ inline void store_pack(const float (&from)[size], T* to) {
  Pack<T, size> pack;
#pragma unroll
  for (int i = 0; i < size; ++i) pack.values[i] = narrow<T>(from[i]);
  *reinterpret_cast<Pack<T, size>*>(to) = pack;
}

template <int size>
struct PackSize {
  static constexpr int value = size;
};

/// Calls work(PackSize<n>, at) for all of `count` elements, by packs and what is left one by one.
template <int size, typename Work>
__device__ inline void for_packs(std::int64_t count, const Work& work) {
  for (std::int64_t i = global_thread(); i < count / size; i += global_threads())
    work(PackSize<size>(), i * size);
  if constexpr (size > 1) {
    for (std::int64_t i = count / size * size + global_thread(); i < count; i += global_threads())
      work(PackSize<1>(), i);
  }
}

/// Whether packs may start at all of these addresses.
template <typename... Pointers>
bool aligned_for_packs(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) | ...) % 16) == 0;
}

/// Calls work(PackSize<n>) with the packs that may be used.
template <typename Work>
void with_pack_size(bool packs, const Work& work) {
  if (packs) return work(PackSize<pack_size>());
  work(PackSize<1>());
}

}  // namespace galapagos::ops::cuda
