#include "byte_level.hpp"

#include "../utf8.hpp"

#include <fmt/format.h>

namespace galapagos {

const std::array<std::string, 256>& byte_spellings() {
  static const std::array<std::string, 256> all = [] {
    std::array<std::string, 256> spellings;
    char32_t next = 256;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
      append_utf8(spellings[byte], printable ? byte : next++);
    }
    return spellings;
  }();
  return all;
}

std::string spell_bytes(std::string_view text) {
  std::string spelled;
  for (const char c : text) spelled += byte_spellings()[static_cast<unsigned char>(c)];
  return spelled;
}

std::string byte_token(unsigned byte) {
  return fmt::format("<0x{:02X}>", byte);
}

}  // namespace galapagos
