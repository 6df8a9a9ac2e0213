#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace galapagos::jinja {

enum class Strip : std::uint8_t { left, right, both };

/// As Python's strip, lstrip, rstrip: of white space, or of the characters given.
std::string strip(const std::string& text, Strip side,
                  const std::optional<std::string>& characters = std::nullopt);
/// Whether there is a decimal digit in it that is none of ASCII, as Python's int() reads.
bool has_foreign_digit(const std::string& text);
/// Where the white space that begins at text[at] ends.
std::size_t white_space_end(const std::string& text, std::size_t at);
/// As Python's split and rsplit; without a separator at white space. `most` below 0: at all places.
std::vector<std::string> split(const std::string& text, const std::optional<std::string>& separator,
                               std::int64_t most = -1, bool from_right = false);
std::vector<std::string> split_lines(const std::string& text, bool keep_ends);
/// As Python's replace; `most` below 0: all.
std::string replaced(const std::string& text, const std::string& old, const std::string& by,
                     std::int64_t most = -1);
std::string upper(const std::string& text);
std::string lower(const std::string& text);
/// As Python's capitalize(): the first letter large, the others small.
std::string capitalized(const std::string& text);
/// As Python's title(): each letter behind a letter small, the others large.
std::string titled(const std::string& text);

}  // namespace galapagos::jinja
