#include "utf8.hpp"

#include <algorithm>
#include <cstring>

#include <galapagos/core/utf8.hpp>

namespace galapagos {
namespace {

unsigned byte_at(std::string_view text, std::size_t at) {
  return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
}

bool is_tail(unsigned byte) {
  return (byte & 0xc0u) == 0x80u;
}

/// Bytes of the ill-formed sequence at text[at] that a well-formed one could begin with; at least 1.
std::size_t ill_formed_length(std::string_view text, std::size_t at) {
  const unsigned lead = byte_at(text, at);
  const unsigned second = byte_at(text, at + 1);
  if (lead < 0xe0 || lead > 0xf4 || !is_tail(second)) return 1;
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 1;
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 1;
  return lead >= 0xf0 && is_tail(byte_at(text, at + 2)) ? 3 : 2;
}

/// How many bytes from text[at] on are ASCII, by whole words and then one by one.
std::size_t ascii_bytes(std::string_view text, std::size_t at) {
  const std::size_t begin = at;
  for (std::uint64_t word = 0; at + sizeof word <= text.size(); at += sizeof word) {
    std::memcpy(&word, text.data() + at, sizeof word);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at - begin;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    at += ascii_bytes(text, at);
    if (at == text.size()) break;
    const std::size_t length = utf8_length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::uint64_t count_characters(std::string_view text) {
  return static_cast<std::uint64_t>(std::count_if(
      text.begin(), text.end(), [](char byte) { return !is_tail(static_cast<unsigned char>(byte)); }));
}

std::string replace_invalid_utf8(std::string_view text, std::uint64_t* replaced) {
  std::string valid;
  valid.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    if (length != 0) {
      valid.append(text, at, length);
      at += length;
    } else {
      valid += "\xef\xbf\xbd";
      at += ill_formed_length(text, at);
      if (replaced != nullptr) ++*replaced;
    }
  }
  return valid;
}

char32_t decode_utf8(std::string_view text, std::size_t at, std::size_t length) {
  const unsigned lead = byte_at(text, at);
  if (length == 1) return lead;
  char32_t code = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = (code << 6) | (byte_at(text, at + i) & 0x3fu);
  return code;
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | (code >> 6));
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3f));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

char32_t first_character(std::string_view text) {
  return decode_utf8(text, 0, utf8_length(text, 0));
}

char32_t last_character(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && is_tail(byte_at(text, at))) --at;
  return decode_utf8(text, at, text.size() - at);
}

}  // namespace galapagos
