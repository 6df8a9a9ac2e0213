#include "json_scan.hpp"

#include "../utf8.hpp"
#include "record_fault.hpp"

#include <cstring>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// Walks over a JSON text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {
    if (text_.starts_with(byte_order_mark)) at_ = byte_order_mark.size();
  }

  /// The next byte that is not white space, which stays; 0 at the end.
  char peek() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c, const char* after) {
    if (!take(c)) fail(fmt::format("no '{}' after {}", c, after));
  }
  void expect_end() {
    peek();
    if (at_ < text_.size()) fail("something follows");
  }

  /// Without its quotes.
  std::string_view string() {
    if (!take('"')) fail("no key in double quotes");
    const std::size_t begin = at_;
    skip_string();
    return text_.substr(begin, at_ - 1 - begin);
  }
  std::string_view value() {
    const char first = peek();
    const std::size_t begin = at_;
    if (first == '"') {
      ++at_;
      skip_string();
    } else if (first == '{' || first == '[') {
      skip_nested();
    } else {
      while (at_ < text_.size() && !is_space(text_[at_]) && text_[at_] != ',' && text_[at_] != '}' &&
             text_[at_] != ']' && text_[at_] != '"' && text_[at_] != ':')
        ++at_;
      if (at_ == begin) fail("no value");
    }
    return text_.substr(begin, at_ - begin);
  }

  [[noreturn]] void fail(const std::string& what) const {
    if (at_ >= text_.size()) throw RecordFault{"not valid JSON: it ends too early", {}};
    if (text_[at_] == '\0')
      throw RecordFault{fmt::format("not valid JSON: a zero byte, at byte {}", at_ + 1), {}};
    throw RecordFault{fmt::format("not valid JSON: {}, at byte {}, before '{}'", what, at_ + 1,
                                  printable(std::string(text_.substr(at_, 20)), 20)),
                      {}};
  }

 private:
  /// From behind the opening quote to behind the closing one: the first before which there is an even number
  /// of backslashes.
  void skip_string() {
    for (const std::size_t begin = at_;;) {
      const void* quote =
          at_ < text_.size() ? std::memchr(text_.data() + at_, '"', text_.size() - at_) : nullptr;
      if (quote == nullptr) throw RecordFault{"not valid JSON: it ends within a string", {}};
      const auto found = static_cast<std::size_t>(static_cast<const char*>(quote) - text_.data());
      std::size_t slashes = 0;
      while (found - slashes > begin && text_[found - slashes - 1] == '\\') ++slashes;
      at_ = found + 1;
      if (slashes % 2 == 0) return;
    }
  }

  void skip_nested() {
    std::size_t depth = 0;
    do {
      if (at_ == text_.size()) fail("");
      const char c = text_[at_++];
      if (c == '"') skip_string();
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
    } while (depth > 0);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

unsigned hex4(std::string_view written, std::size_t at) {
  unsigned code = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    const char c = i < written.size() ? written[i] : 'x';
    const bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'f', upper = c >= 'A' && c <= 'F';
    if (!digit && !lower && !upper)
      throw RecordFault{"not valid JSON: a \\u without four hexadecimal digits", {}};
    code = code * 16 + static_cast<unsigned>(digit ? c - '0' : (lower ? c - 'a' : c - 'A') + 10);
  }
  return code;
}

bool is_high(unsigned code) {
  return code >= 0xd800 && code < 0xdc00;
}
bool is_low(unsigned code) {
  return code >= 0xdc00 && code < 0xe000;
}

/// Undoes the \u at written[at]; the place behind it.
std::size_t decode_unicode(std::string_view written, std::size_t at, std::string& text, TextCounts& counts) {
  const unsigned code = hex4(written, at + 2);
  at += 6;
  if (is_high(code) && written.substr(at).starts_with("\\u")) {
    if (const unsigned low = hex4(written, at + 2); is_low(low)) {
      append_utf8(text, 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
      return at + 6;
    }
  }
  const bool half = is_high(code) || is_low(code);
  if (half) ++counts.surrogates;
  append_utf8(text, half ? 0xfffd : code);
  return at;
}

}  // namespace

void scan_object(std::string_view text, std::vector<JsonMember>& members) {
  members.clear();
  Scanner scanner(text);
  if (!scanner.take('{')) {
    if (scanner.peek() == '\0') scanner.fail("");
    throw RecordFault{fmt::format("{} instead of an object", kind_of_json(text)), {}};
  }
  if (!scanner.take('}')) {
    do {
      JsonMember& member = members.emplace_back();
      member.key = scanner.string();
      scanner.expect(':', "a key");
      member.value = scanner.value();
    } while (scanner.take(','));
    scanner.expect('}', "a value");
  }
  scanner.expect_end();
}

void scan_array(std::string_view text, std::vector<std::string_view>& elements) {
  elements.clear();
  Scanner scanner(text);
  if (!scanner.take('[')) throw RecordFault{fmt::format("{} instead of a list", kind_of_json(text)), {}};
  if (!scanner.take(']')) {
    do {
      elements.push_back(scanner.value());
    } while (scanner.take(','));
    scanner.expect(']', "a value");
  }
  scanner.expect_end();
}

std::optional<std::string_view> find_member(const std::vector<JsonMember>& members, std::string_view key) {
  for (auto member = members.rbegin(); member != members.rend(); ++member) {
    if (member->key == key) return member->value;
    if (member->key.find('\\') == std::string_view::npos) continue;
    try {
      TextCounts ignored;
      if (decode_json_string(member->key, ignored) == key) return member->value;
    } catch (const RecordFault&) {
      continue;  // a key of no text is none that is asked for
    }
  }
  return std::nullopt;
}

std::string decode_json_string(std::string_view written, TextCounts& counts) {
  std::string text;
  text.reserve(written.size());
  for (std::size_t at = 0; at < written.size();) {
    const std::size_t slash = std::min(written.find('\\', at), written.size());
    text.append(written, at, slash - at);
    at = slash;
    if (at == written.size()) break;
    const char escape = at + 1 < written.size() ? written[at + 1] : '\0';
    constexpr std::string_view escapes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (escape == 'u') {
      at = decode_unicode(written, at, text, counts);
    } else if (const std::size_t which = escapes.find(escape); which != std::string_view::npos) {
      text += meanings[which];
      at += 2;
    } else {
      throw RecordFault{
          "not valid JSON: an escape that it does not have, " + printable(std::string(written.substr(at, 2))),
          {}};
    }
  }
  if (written.find('\0') != std::string_view::npos)
    throw RecordFault{"not valid JSON: a zero byte in a string", {}};
  make_valid(text, counts);
  return text;
}

void make_valid(std::string& text, TextCounts& counts) {
  if (!is_valid_utf8(text)) text = replace_invalid_utf8(text, &counts.invalid);
  counts.characters += count_characters(text);
}

const char* kind_of_json(std::string_view value) {
  if (value.starts_with(byte_order_mark)) value.remove_prefix(byte_order_mark.size());
  while (!value.empty() && is_space(value.front())) value.remove_prefix(1);
  if (value.empty()) return "nothing";
  switch (value.front()) {
    case '"':
      return "a string";
    case '{':
      return "an object";
    case '[':
      return "a list";
    case 't':
    case 'f':
      return value.starts_with("true") || value.starts_with("false") ? "true or false" : "no JSON";
    case 'n':
      return value.starts_with("null") ? "null" : "no JSON";
    case 'N':
    case 'I':
      return "a number";
    default:
      return value.front() == '-' || (value.front() >= '0' && value.front() <= '9') ? "a number" : "no JSON";
  }
}

}  // namespace galapagos
