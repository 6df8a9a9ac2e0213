#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace galapagos {

bool is_valid_utf8(std::string_view text);

/// Of a valid text.
std::uint64_t count_characters(std::string_view text);

/// The text with each maximal subpart of an ill-formed sequence replaced by U+FFFD; adds how many there were.
std::string replace_invalid_utf8(std::string_view text, std::uint64_t* replaced = nullptr);

/// The code point of the well-formed sequence of `length` bytes at text[at].
char32_t decode_utf8(std::string_view text, std::size_t at, std::size_t length);

void append_utf8(std::string& text, char32_t code);

/// First and last character of a valid, non-empty text.
char32_t first_character(std::string_view text);
char32_t last_character(std::string_view text);

}  // namespace galapagos
