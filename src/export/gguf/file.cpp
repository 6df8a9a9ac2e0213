#include "file.hpp"

#include <bit>
#include <cstring>

namespace galapagos::gguf {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t version = 3;
constexpr std::uint64_t alignment = 32;  // the format's own where general.alignment says nothing

/// Types of values.
enum : std::uint32_t {
  type_u16 = 2,
  type_u32 = 4,
  type_i32 = 5,
  type_f32 = 6,
  type_bool = 7,
  type_string = 8,
  type_list = 9
};

template <typename T>
void add(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void add_text(std::string& bytes, std::string_view text) {
  add(bytes, std::uint64_t{text.size()});
  bytes += text;
}

std::uint64_t aligned(std::uint64_t place) {
  return (place + alignment - 1) / alignment * alignment;
}

}  // namespace

void Metadata::begin(std::string_view key, std::uint32_t type) {
  ++count_;
  add_text(bytes_, key);
  add(bytes_, type);
}

void Metadata::begin_list(std::string_view key, std::uint32_t type, std::size_t count) {
  begin(key, type_list);
  add(bytes_, type);
  add(bytes_, std::uint64_t{count});
}

void Metadata::set(std::string_view key, std::uint16_t value) {
  begin(key, type_u16);
  add(bytes_, value);
}

void Metadata::set(std::string_view key, std::uint32_t value) {
  begin(key, type_u32);
  add(bytes_, value);
}

void Metadata::set(std::string_view key, std::int32_t value) {
  begin(key, type_i32);
  add(bytes_, value);
}

void Metadata::set(std::string_view key, float value) {
  begin(key, type_f32);
  add(bytes_, value);
}

void Metadata::set(std::string_view key, bool value) {
  begin(key, type_bool);
  add(bytes_, std::uint8_t{value});
}

void Metadata::set(std::string_view key, std::string_view value) {
  begin(key, type_string);
  add_text(bytes_, value);
}

void Metadata::set(std::string_view key, std::span<const std::int32_t> values) {
  begin_list(key, type_i32, values.size());
  for (const std::int32_t value : values) add(bytes_, value);
}

void Metadata::set(std::string_view key, std::span<const float> values) {
  begin_list(key, type_f32, values.size());
  for (const float value : values) add(bytes_, value);
}

void Metadata::set(std::string_view key, std::span<const std::string> values) {
  begin_list(key, type_string, values.size());
  for (const std::string& value : values) add_text(bytes_, value);
}

Layout lay_out(const Metadata& metadata, std::span<const TensorInfo> tensors) {
  Layout layout;
  std::string& head = layout.head;
  head = "GGUF";
  add(head, version);
  add(head, std::uint64_t{tensors.size()});
  add(head, metadata.count());
  head += metadata.bytes();
  std::uint64_t place = 0;
  for (const TensorInfo& tensor : tensors) {
    add_text(head, tensor.name);
    add(head, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
      add(head, static_cast<std::uint64_t>(*extent));
    add(head, number_of(tensor.type));
    add(head, place);
    layout.places.push_back(place);
    place = aligned(place + tensor.bytes);
  }
  head.resize(aligned(head.size()));
  for (std::uint64_t& from : layout.places) from += head.size();
  return layout;
}

}  // namespace galapagos::gguf
