#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <galapagos/export/gguf_type.hpp>

// The beginning of a GGUF file, version 3, as llama.cpp's documentation of the format has it: little-endian
// magic, version, counts, keys with values, and of each tensor name, extents (the fastest first), type and
// place.
namespace galapagos::gguf {

/// Keys with their values, in the order in which they were set.
class Metadata {
 public:
  void set(std::string_view key, std::uint16_t value);
  void set(std::string_view key, std::uint32_t value);
  void set(std::string_view key, std::int32_t value);
  void set(std::string_view key, float value);
  void set(std::string_view key, bool value);
  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, const char* value) { set(key, std::string_view(value)); }
  void set(std::string_view key, std::span<const std::int32_t> values);
  void set(std::string_view key, std::span<const float> values);
  void set(std::string_view key, std::span<const std::string> values);

  std::uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, std::uint32_t type);
  void begin_list(std::string_view key, std::uint32_t type, std::size_t count);

  std::string bytes_;
  std::uint64_t count_ = 0;
};

/// A tensor as the file lists it.
struct TensorInfo {
  std::string name;
  std::vector<std::int64_t> shape;  ///< as elsewhere here, the fastest extent last
  GgufType type = GgufType::f32;
  std::uint64_t bytes = 0;
};

/// What a file begins with, up to where the tensors' bytes do, and their places from there on.
struct Layout {
  std::string head;
  std::vector<std::uint64_t> places;  ///< of the first byte of each tensor, from the file's beginning on
};
Layout lay_out(const Metadata& metadata, std::span<const TensorInfo> tensors);

}  // namespace galapagos::gguf
