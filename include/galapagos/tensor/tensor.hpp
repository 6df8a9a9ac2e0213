#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>

#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

enum class Device : std::uint8_t { cpu, cuda };

std::string name_of(Device device);

/// Owned, uninitialised memory on a device, aligned to 64 bytes; on a GPU from a pool that keeps what is
/// freed. ResourceError, naming the purpose, where there is not enough. Under a MemoryCount there is none.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::size_t bytes, Device device, const std::string& purpose);
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        device_(other.device_) {}
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_ = Device::cpu;
};

/// Extents of a tensor of one to three dimensions.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int dimension) const { return extents_[static_cast<std::size_t>(dimension)]; }
  std::int64_t& operator[](int dimension) { return extents_[static_cast<std::size_t>(dimension)]; }
  std::int64_t elements() const;
  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, 3> extents_{};
  int rank_ = 0;
};

/// A typed view of contiguous, row-major memory that somebody else owns.
struct Tensor {
  std::byte* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;

  std::int64_t rows() const { return shape[0]; }
  std::int64_t columns() const { return shape.rank() < 2 ? 1 : shape[shape.rank() - 1]; }
  std::int64_t elements() const { return shape.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype); }
  bool empty() const { return elements() == 0; }

  /// The rows [first, first + count) of the first dimension.
  Tensor slice(std::int64_t first, std::int64_t count) const;
  /// The same memory with other extents; no more elements than before.
  Tensor view(Shape other) const;

  float* floats() const { return reinterpret_cast<float*>(data); }
  std::span<float> float_span() const { return {floats(), static_cast<std::size_t>(elements())}; }
};

/// A tensor with its memory.
class OwnedTensor {
 public:
  OwnedTensor() = default;
  OwnedTensor(Shape shape, DType dtype, Device device, const std::string& purpose);

  const Tensor& view() const { return view_; }
  const Tensor* operator->() const { return &view_; }
  operator const Tensor&() const { return view_; }  // NOLINT: a tensor with memory is a tensor

 private:
  Buffer buffer_;
  Tensor view_;
};

/// A copy on `device`; nothing of an empty tensor.
OwnedTensor copy_of(const Tensor& tensor, Device device, const std::string& purpose);

/// Copies `bytes` between the host and a device, or within either; returns when done, or within a GPU when
/// queued before all that comes later.
void copy_bytes(std::byte* to, Device to_device, const std::byte* from, Device from_device,
                std::size_t bytes);

/// to = from, of the same type and as many values, wherever they lie.
inline void copy_values(const Tensor& from, const Tensor& to) {
  copy_bytes(to.data, to.device, from.data, from.device, from.bytes());
}

/// Waits until all that was queued on the device is done; nothing is ever queued on the CPU.
void synchronise(Device device);

/// Sets all bytes to zero.
void fill_zero(const Tensor& tensor);

/// Whether this build has the CUDA parts; and their version ("none" without).
bool built_with_cuda();
std::string cuda_version();

}  // namespace galapagos
