#pragma once

#include <cstddef>
#include <string>

#include <galapagos/tensor/tensor.hpp>

// GPU memory: device_cuda.cpp, or device_no_cuda.cpp in a build without CUDA.
namespace galapagos::device {

/// From the pool, and not.
std::byte* cuda_allocate(std::size_t bytes, const std::string& purpose);
void cuda_free(std::byte* data) noexcept;
std::byte* cuda_allocate_unpooled(std::size_t bytes, const std::string& purpose);
void cuda_free_unpooled(std::byte* data) noexcept;
void cuda_copy(std::byte* to, Device to_device, const std::byte* from, Device from_device, std::size_t bytes);
void cuda_zero(std::byte* data, std::size_t bytes);

/// Waits for all that the GPU has been given.
void cuda_synchronise();
/// Page-locked host memory; nullptr where there is none.
std::byte* cuda_allocate_pinned(std::size_t bytes);
void cuda_free_pinned(std::byte* data) noexcept;
/// Page-locks memory that the host has; false where the driver refuses. Unlocking waits for all that the GPU
/// has been given.
bool cuda_lock_pages(std::byte* data, std::size_t bytes);
void cuda_unlock_pages(std::byte* data) noexcept;

}  // namespace galapagos::device
