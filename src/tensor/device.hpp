#pragma once

#include <cstddef>
#include <string>

// GPU memory: device_cuda.cpp, or device_no_cuda.cpp in a build without CUDA.
namespace galapagos::device {

std::byte* cuda_allocate(std::size_t bytes, const std::string& purpose);
void cuda_free(std::byte* data) noexcept;
void cuda_copy(std::byte* to, const std::byte* from, std::size_t bytes);
void cuda_zero(std::byte* data, std::size_t bytes);

}  // namespace galapagos::device
