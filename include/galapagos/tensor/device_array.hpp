#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// Values of any plain type in the memory of a device, uninitialised: what is no tensor, such as indices.
template <typename T>
class DeviceArray {
 public:
  static_assert(std::is_trivially_copyable_v<T>);

  DeviceArray() = default;
  DeviceArray(std::int64_t size, Device device, const std::string& purpose)
      : buffer_(static_cast<std::size_t>(size) * sizeof(T), device, purpose), device_(device), size_(size) {}

  T* data() const { return reinterpret_cast<T*>(buffer_.data()); }
  std::int64_t size() const { return size_; }
  Device device() const { return device_; }

 private:
  Buffer buffer_;
  Device device_ = Device::cpu;
  std::int64_t size_ = 0;
};

/// The first `count` values of an array for the host to read: those themselves where they lie there, and a
/// copy, which waits for the GPU's work, where they do not. The array must outlive it.
template <typename T>
class OnHost {
 public:
  OnHost(const DeviceArray<T>& array, std::int64_t count)
      : copy_(array.device() == Device::cpu ? 0 : static_cast<std::size_t>(count)),
        values_(array.device() == Device::cpu ? array.data() : copy_.data(),
                static_cast<std::size_t>(count)) {
    copy_bytes(reinterpret_cast<std::byte*>(copy_.data()), Device::cpu,
               reinterpret_cast<const std::byte*>(array.data()), array.device(), copy_.size() * sizeof(T));
  }
  OnHost(const OnHost&) = delete;
  OnHost& operator=(const OnHost&) = delete;

  std::span<const T> values() const { return values_; }
  const T& operator[](std::size_t i) const { return values_[i]; }

 private:
  std::vector<T> copy_;
  std::span<const T> values_;
};

}  // namespace galapagos
