#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>

// Numbers of files as they lie there.
namespace galapagos::torch_format {

static_assert(std::endian::native == std::endian::little);

/// The number at `at`; nothing where the bytes end before it does.
template <std::integral T>
std::optional<T> number_at(std::span<const std::byte> bytes, std::size_t at) {
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <std::integral T>
void append(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace galapagos::torch_format
