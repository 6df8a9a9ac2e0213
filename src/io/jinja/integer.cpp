#include "builtins.hpp"
#include "text.hpp"

#include <charconv>
#include <cmath>

namespace galapagos::jinja {
namespace {

/// Python's underscores between digits gone; nothing where they stand elsewhere, or where a digit is none of
/// ASCII.
std::optional<std::string> without_underscores(const std::string& text) {
  std::string out;
  const auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (static_cast<unsigned char>(text[at]) >= 0x80u) return std::nullopt;
    if (text[at] != '_') {
      out += text[at];
    } else if (at == 0 || !digit(at - 1) || !digit(at + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

std::int64_t whole_part(double value) {
  if (!(std::abs(value) < 9.2e18)) fail("computes an integer beyond 64 bits");
  return static_cast<std::int64_t>(value);
}

}  // namespace

Value to_integer(const Value& value, const Arguments& arguments) {
  const Value* given = arguments.find(0, "default");
  const Value otherwise = given == nullptr ? Value(std::int64_t{0}) : *given;
  if (value.is_undefined()) fail("the number of what is undefined");
  if (arguments.find(1, "base") != nullptr) fail("int with a base is not supported");
  if (const auto integer = as_integer(value)) return *integer;
  if (const auto real = as_real(value)) return std::isnan(*real) ? otherwise : Value(whole_part(*real));
  if (value.text() == nullptr) return otherwise;
  std::string text = strip(*value.text(), Strip::both);
  if (has_foreign_digit(text)) fail("the number of a text with digits of another script");
  const std::optional<std::string> plain = without_underscores(text);
  if (!plain) return otherwise;
  text = *plain;
  if (text.starts_with('+') && !text.starts_with("+-")) text.erase(0, 1);
  const std::size_t first = text.starts_with('-') ? 1 : 0;
  if (text.size() > first && text.find_first_not_of("0123456789", first) == std::string::npos) {
    std::int64_t integer = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), integer).ec != std::errc())
      fail("computes an integer beyond 64 bits");
    return integer;
  }
  const std::optional<double> real = real_of(text);
  return real && std::isfinite(*real) ? Value(whole_part(*real)) : otherwise;
}

}  // namespace galapagos::jinja
