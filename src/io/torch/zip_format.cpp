#include "zip_format.hpp"

#include <algorithm>
#include <zlib.h>

namespace galapagos::torch_format {

std::uint32_t crc_of(std::span<const std::byte> bytes) {
  uLong crc = crc32(0, nullptr, 0);
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min<std::size_t>(bytes.size(), std::size_t{1} << 30));
    crc = crc32(crc, reinterpret_cast<const Bytef*>(part.data()), static_cast<uInt>(part.size()));
    bytes = bytes.subspan(part.size());
  }
  return static_cast<std::uint32_t>(crc);
}

}  // namespace galapagos::torch_format
