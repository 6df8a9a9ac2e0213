#include "gguf_reader.hpp"

#include <bit>
#include <cstring>
#include <span>
#include <stdexcept>

#include <galapagos/core/file.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos::test {
namespace {

struct Reader {
  std::string bytes;
  std::size_t place = 0;

  template <typename T>
  T next() {
    if (place + sizeof(T) > bytes.size()) throw std::runtime_error("the file ends too soon");
    T value;
    std::memcpy(&value, bytes.data() + place, sizeof value);
    place += sizeof value;
    return value;
  }
  std::string text() {
    const auto size = next<std::uint64_t>();
    if (place + size > bytes.size()) throw std::runtime_error("a text ends too late");
    place += size;
    return bytes.substr(place - size, size);
  }
  std::int64_t whole(std::uint32_t type) {
    switch (type) {
      case 2:
        return next<std::uint16_t>();
      case 4:
        return next<std::uint32_t>();
      case 5:
        return next<std::int32_t>();
      case 7:
        return next<std::uint8_t>();
      default:
        throw std::runtime_error("a type that the test does not know");
    }
  }
  GgufFile::Value value(std::uint32_t type) {
    if (type == 6) return static_cast<double>(next<float>());
    if (type == 8) return text();
    if (type != 9) return whole(type);
    const auto of = next<std::uint32_t>();
    const auto count = next<std::uint64_t>();
    if (of == 8) {
      std::vector<std::string> texts;
      for (std::uint64_t i = 0; i < count; ++i) texts.push_back(text());
      return texts;
    }
    if (of == 6) {
      std::vector<double> numbers;
      for (std::uint64_t i = 0; i < count; ++i) numbers.push_back(next<float>());
      return numbers;
    }
    std::vector<std::int64_t> numbers;
    for (std::uint64_t i = 0; i < count; ++i) numbers.push_back(whole(of));
    return numbers;
  }
};

std::vector<float> values_of(const std::string& bytes, std::size_t place, std::uint32_t type,
                             std::size_t count) {
  const auto* from = reinterpret_cast<const std::byte*>(bytes.data()) + place;
  std::vector<float> values(count);
  const auto need = [&](std::size_t size) {
    if (place + size > bytes.size()) throw std::runtime_error("a tensor ends behind the file");
  };
  if (type == 8) {
    need(count / 32 * 34);
    for (std::size_t i = 0; i < count; ++i) {
      Float16 scale;
      std::memcpy(&scale, from + i / 32 * 34, 2);
      values[i] =
          to_float(scale) * static_cast<float>(static_cast<std::int8_t>(from[i / 32 * 34 + 2 + i % 32]));
    }
    return values;
  }
  const DType stored = type == 0 ? DType::f32 : type == 1 ? DType::f16 : DType::bf16;
  if (type != 0 && type != 1 && type != 30)
    throw std::runtime_error("a type of tensors that the test does not know");
  need(count * size_of(stored));
  convert_to_float(stored, from, values);
  return values;
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) {
  Reader reader{read_file(path)};
  if (reader.bytes.substr(0, 4) != "GGUF") throw std::runtime_error("no magic");
  reader.place = 4;
  if (reader.next<std::uint32_t>() != 3) throw std::runtime_error("another version");
  const auto count = reader.next<std::uint64_t>(), keys = reader.next<std::uint64_t>();
  for (std::uint64_t i = 0; i < keys; ++i) {
    const std::string key = reader.text();
    const auto type = reader.next<std::uint32_t>();
    if (!metadata.emplace(key, reader.value(type)).second) throw std::runtime_error("a key twice: " + key);
  }
  struct Place {
    std::string name;
    std::uint64_t from;
  };
  std::vector<Place> places;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string name = reader.text();
    Stored& stored = tensors[name];
    const auto extents = reader.next<std::uint32_t>();
    for (std::uint32_t e = 0; e < extents; ++e)
      stored.shape.insert(stored.shape.begin(), static_cast<std::int64_t>(reader.next<std::uint64_t>()));
    stored.type = reader.next<std::uint32_t>();
    places.push_back({name, reader.next<std::uint64_t>()});
  }
  const std::size_t data = (reader.place + 31) / 32 * 32;
  for (const Place& place : places) {
    if (place.from % 32 != 0) throw std::runtime_error("a tensor is not aligned: " + place.name);
    Stored& stored = tensors[place.name];
    std::size_t elements = 1;
    for (const std::int64_t extent : stored.shape) elements *= static_cast<std::size_t>(extent);
    stored.values = values_of(reader.bytes, data + place.from, stored.type, elements);
  }
}

}  // namespace galapagos::test
