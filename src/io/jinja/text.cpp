#include "text.hpp"

#include "../utf8.hpp"
#include "budget.hpp"
#include "value.hpp"

#include <algorithm>
#include <set>
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/stringoptions.h>
#include <unicode/uchar.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/utf8.hpp>

namespace galapagos::jinja {
namespace {

using Characters = std::vector<std::string>;

/// As Python's isspace().
bool is_space(const std::string& character) {
  const char32_t code = first_character(character);
  return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
         code == 0x202f || code == 0x205f || code == 0x3000;
}

bool ends_line(const std::string& character) {
  const char32_t code = first_character(character);
  return (code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code == 0x85 || code == 0x2028 ||
         code == 0x2029;
}

std::string joined(const Characters& characters, std::size_t begin, std::size_t end) {
  std::string text;
  for (std::size_t i = begin; i < end; ++i) text += characters[i];
  return text;
}

[[noreturn]] void case_failure() {
  throw FailureError("cannot change the case of a text", "ICU", "check the installation of ICU");
}

using Convert = void (*)(const char*, std::uint32_t, icu::StringPiece, icu::ByteSink&, icu::Edits*,
                         UErrorCode&);

std::string converted(const std::string& text, Convert convert) {
  std::string out;
  icu::StringByteSink<std::string> sink(&out, static_cast<std::int32_t>(text.size()));
  UErrorCode status = U_ZERO_ERROR;
  convert("", 0, icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())), sink, nullptr,
          status);
  if (U_FAILURE(status)) case_failure();
  return out;
}

/// Perhaps several, as of a sharp s.
std::string title_character(const std::string& character) {
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode status = U_ZERO_ERROR;
  icu::CaseMap::utf8ToTitle(
      "", U_TITLECASE_WHOLE_STRING | U_TITLECASE_NO_BREAK_ADJUSTMENT | U_TITLECASE_NO_LOWERCASE, nullptr,
      icu::StringPiece(character.data(), static_cast<std::int32_t>(character.size())), sink, nullptr, status);
  if (U_FAILURE(status)) case_failure();
  return out;
}

/// The words between white space, at most `most` cuts from the front.
std::vector<std::string> words_of(const Characters& all, std::int64_t most) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < all.size();) {
    if (is_space(all[at])) {
      ++at;
      continue;
    }
    std::size_t end = at;
    const bool last = most >= 0 && static_cast<std::int64_t>(words.size()) == most;
    while (end < all.size() && (last || !is_space(all[end]))) ++end;
    words.push_back(joined(all, at, end));
    at = end;
  }
  return words;
}

}  // namespace

std::string strip(const std::string& text, Strip side, const std::optional<std::string>& characters) {
  const Characters given = characters ? characters_of(*characters) : Characters{};
  const std::set<std::string> chosen(given.begin(), given.end());
  const auto goes = [&](const std::string& character) {
    return characters ? chosen.contains(character) : is_space(character);
  };
  std::size_t begin = 0, end = text.size();
  while (side != Strip::right && begin < end) {
    const std::size_t bytes = std::max<std::size_t>(utf8_length(text, begin), 1);
    if (!goes(text.substr(begin, bytes))) break;
    begin += bytes;
  }
  while (side != Strip::left && end > begin) {
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xc0u) == 0x80u) --last;
    if (!goes(text.substr(last, end - last))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

bool has_foreign_digit(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = std::max<std::size_t>(utf8_length(text, at), 1);
    if (bytes > 1 && u_isdigit(static_cast<UChar32>(decode_utf8(text, at, bytes))) != 0) return true;
    at += bytes;
  }
  return false;
}

std::size_t white_space_end(const std::string& text, std::size_t at) {
  while (at < text.size()) {
    const std::size_t bytes = std::max<std::size_t>(utf8_length(text, at), 1);
    if (!is_space(text.substr(at, bytes))) break;
    at += bytes;
  }
  return at;
}

std::vector<std::string> split(const std::string& text, const std::optional<std::string>& separator,
                               std::int64_t most, bool from_right) {
  if (separator && separator->empty()) fail("splits at an empty text");
  if (separator) spend_search(text.size(), separator->size());
  std::vector<std::string> parts;
  if (from_right && most >= 0) {
    if (!separator) fail("rsplit at white space with a limit is not supported");
    std::size_t end = text.size();
    for (std::size_t at; most > 0 && end >= separator->size() &&
                         (at = text.rfind(*separator, end - separator->size())) != std::string::npos;
         --most) {
      spend(sizeof(std::string));
      parts.push_back(text.substr(at + separator->size(), end - at - separator->size()));
      end = at;
    }
    parts.push_back(text.substr(0, end));
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  if (!separator) return words_of(characters_of(text), most);
  std::size_t begin = 0;
  for (std::size_t at; most != 0 && (at = text.find(*separator, begin)) != std::string::npos; --most) {
    spend(sizeof(std::string));
    parts.push_back(text.substr(begin, at - begin));
    begin = at + separator->size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::vector<std::string> split_lines(const std::string& text, bool keep_ends) {
  const Characters all = characters_of(text);
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < all.size();) {
    std::size_t end = at;
    while (end < all.size() && !ends_line(all[end])) ++end;
    std::size_t next = std::min(end + 1, all.size());
    if (next < all.size() && all[end] == "\r" && all[next] == "\n") ++next;
    lines.push_back(joined(all, at, keep_ends ? next : end));
    at = next;
  }
  return lines;
}

std::string replaced(const std::string& text, const std::string& old, const std::string& by,
                     std::int64_t most) {
  std::string out;
  if (old.empty()) {
    for (const std::string& character : characters_of(text)) {
      if (most != 0) spend(by.size());
      if (most != 0) out += by;
      if (most != 0) --most;
      out += character;
    }
    return most == 0 ? out : out + by;
  }
  spend_search(text.size(), old.size());
  std::size_t done = 0;
  for (std::size_t at; most != 0 && (at = text.find(old, done)) != std::string::npos;
       done = at + old.size()) {
    spend(by.size() + 1);
    out.append(text, done, at - done).append(by);
    --most;
  }
  return out.append(text, done);
}

std::string upper(const std::string& text) {
  return converted(text, icu::CaseMap::utf8ToUpper);
}

std::string lower(const std::string& text) {
  return converted(text, icu::CaseMap::utf8ToLower);
}

std::string capitalized(const std::string& text) {
  if (text.empty()) return text;
  const std::string first = text.substr(0, std::max<std::size_t>(utf8_length(text, 0), 1));
  return title_character(first) + lower(text).substr(lower(first).size());
}

std::string titled(const std::string& text) {
  const std::string small = lower(text);  // where it matters what stands around a letter
  std::string out;
  std::size_t at = 0;
  bool inside = false;
  for (const std::string& character : characters_of(text)) {
    const std::size_t bytes = lower(character).size();
    out += inside ? small.substr(at, bytes) : title_character(character);
    at += bytes;
    inside = u_hasBinaryProperty(static_cast<UChar32>(first_character(character)), UCHAR_CASED) != 0;
  }
  return out;
}

}  // namespace galapagos::jinja
