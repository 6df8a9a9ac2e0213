#include "lexer.hpp"

#include "../utf8.hpp"
#include "text.hpp"
#include "value.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string with_unix_lines(std::string_view source) {
  std::string out;
  for (std::size_t at = 0; at < source.size(); ++at) {
    out += source[at] == '\r' ? '\n' : source[at];
    if (source.substr(at, 2) == "\r\n") ++at;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_unix_lines(source)) {}

  std::vector<LexedToken> run() {
    while (at_ < source_.size()) data();
    emit(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  using Kind = LexedToken::Kind;

  [[noreturn]] void bad(const std::string& what) const { fail(fmt::format("{} (line {})", what, line_)); }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }

  void emit(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance(std::size_t bytes) {
    line_ += static_cast<int>(std::count(source_.data() + at_, source_.data() + at_ + bytes, '\n'));
    at_ += bytes;
  }

  /// Text up to the next tag, and the tag.
  void data() {
    std::size_t begin = at_;
    do {
      begin = source_.find('{', begin);
    } while (begin != std::string::npos && ++begin < source_.size() &&
             std::string_view("%{#").find(source_[begin]) == std::string_view::npos);
    if (begin == std::string::npos || begin >= source_.size()) {
      emit(Kind::data, source_.substr(at_));
      return advance(source_.size() - at_);
    }
    std::string text = source_.substr(at_, --begin - at_);
    const char kind = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : ' ';
    if (sign == '-') {
      text = strip(text, Strip::right);
    } else if (sign != '+' && kind != '{') {
      const std::size_t line = text.rfind('\n') + 1;
      if ((line > 0 || at_line_start_) && strip(text.substr(line), Strip::both).empty()) text.resize(line);
    }
    if (!text.empty()) emit(Kind::data, std::move(text));
    advance(begin + 2 - at_);
    if (sign == '-' || sign == '+') advance(1);
    if (kind == '#') return comment();
    tag(kind == '%' ? '%' : '}', kind == '%' ? Kind::block_begin : Kind::print_begin);
  }

  /// Past the end of a tag or comment, whose two characters are at `end`, perhaps behind a sign.
  void close(std::size_t end, bool trims) {
    const bool minus = end > at_ && source_[end - 1] == '-';
    const bool plus = end > at_ && source_[end - 1] == '+';
    std::size_t next = end + 2;
    if (minus) {
      next = white_space_end(source_, next);
    } else if (trims && !plus && next < source_.size() && source_[next] == '\n') {
      ++next;
    }
    advance(next - at_);
    at_line_start_ = source_[next - 1] == '\n';
  }

  void comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) bad("a comment without its end");
    close(end, true);
  }

  void tag(char closing, Kind kind) {
    const bool block = kind == Kind::block_begin;
    emit(kind, "");
    int depth = 0;
    while (true) {
      const std::string_view left = rest();
      if (left.empty()) bad("a tag without its end");
      if (std::string_view(" \t\n\v\f").find(left[0]) != std::string_view::npos) {
        advance(1);
        continue;
      }
      const bool signed_end = left[0] == '-' || (left[0] == '+' && block);
      const std::size_t end = signed_end ? 1 : 0;
      if (depth == 0 && left.size() > end + 1 && left[end] == closing && left[end + 1] == '}') {
        close(at_ + end, block);
        return emit(block ? Kind::block_end : Kind::print_end, "");
      }
      if (is_name_start(left[0])) {
        name();
      } else if (is_digit(left[0])) {
        number();
      } else if (left[0] == '\'' || left[0] == '"') {
        text(left[0]);
      } else {
        depth += operator_sign();
      }
    }
  }

  void name() {
    std::size_t end = at_;
    while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
    emit(Kind::name, source_.substr(at_, end - at_));
    advance(end - at_);
  }

  void number() {
    std::size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool real = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const std::size_t signed_at = end + 1;
      const bool sign =
          signed_at < source_.size() && (source_[signed_at] == '+' || source_[signed_at] == '-');
      if (const std::size_t first = signed_at + (sign ? 1 : 0);
          first < source_.size() && is_digit(source_[first])) {
        real = true;
        end = first;
        digits();
      }
    }
    if (end < source_.size() && is_name_start(source_[end]))
      bad("a number in a spelling that is not supported");
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    emit(real ? Kind::real : Kind::integer, text);
    advance(end - at_);
  }

  void text(char quote) {
    const std::size_t begin = at_ + 1;
    std::size_t end = begin;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) bad("a text without its end");
    emit(Kind::text, unescaped(source_.substr(begin, end - begin)));
    advance(end + 1 - at_);
  }

  /// As Python's unicode-escape.
  std::string unescaped(const std::string& text) const {
    constexpr std::string_view letters = "\\'\"abfnrtv", values = "\\'\"\a\b\f\n\r\t\v";
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] != '\\') {
        out += text[at];
        continue;
      }
      const char letter = text[++at];
      if (letter == '\n') continue;
      if (const std::size_t which = letters.find(letter); which != std::string_view::npos) {
        out += values[which];
      } else if (letter == 'x' || letter == 'u' || letter == 'U') {
        const std::size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
        const std::string hex = text.substr(at + 1, digits);
        if (hex.size() != digits || hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
          bad("a text with a damaged \\" + std::string(1, letter));
        const unsigned long code = std::stoul(hex, nullptr, 16);
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) bad("a text with half a character");
        append_utf8(out, static_cast<char32_t>(code));
        at += digits;
      } else if (is_digit(letter) || letter == 'N') {
        bad("a text with \\" + std::string(1, letter));
      } else {
        out.append("\\").append(1, letter);
      }
    }
    return out;
  }

  /// Emits an operator; 1 where it opens a bracket, -1 where it closes one.
  int operator_sign() {
    constexpr std::array<std::string_view, 6> doubled = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view single = "+-/*%~[](){}><=.:|,";
    const std::string_view left = rest();
    const bool two = std::find(doubled.begin(), doubled.end(), left.substr(0, 2)) != doubled.end();
    if (!two && single.find(left[0]) == std::string_view::npos)
      bad("'" + printable(std::string(1, left[0])) + "' in a tag");
    const std::string sign(left.substr(0, two ? 2 : 1));
    emit(Kind::op, sign);
    advance(sign.size());
    return sign == "(" || sign == "[" || sign == "{" ? 1 : sign == ")" || sign == "]" || sign == "}" ? -1 : 0;
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool at_line_start_ = true;
  std::vector<LexedToken> tokens_;
};

}  // namespace

std::vector<LexedToken> lex(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace galapagos::jinja
