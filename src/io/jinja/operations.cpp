#include "builtins.hpp"

#include <cmath>

#include <galapagos/core/error.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos::jinja {
namespace {

/// Where in a sequence of `size` an index points; nothing where it points beside it.
std::optional<std::size_t> position(std::int64_t index, std::size_t size) {
  if (index < 0) index += static_cast<std::int64_t>(size);
  if (index < 0 || index >= static_cast<std::int64_t>(size)) return std::nullopt;
  return static_cast<std::size_t>(index);
}

/// The indices of a slice, as Python's slice.indices.
std::vector<std::size_t> indices(const Value& begin, const Value& end, const Value& step, std::size_t size) {
  const auto part = [](const Value& value, std::int64_t otherwise) {
    if (value.is_none()) return otherwise;
    if (const auto index = as_integer(value)) return *index;
    fail(std::string("a slice with ") + value.kind());
  };
  const auto count = static_cast<std::int64_t>(size);
  const std::int64_t stride = part(step, 1);
  if (stride == 0) fail("a slice with step 0");
  const std::int64_t lowest = stride < 0 ? -1 : 0, highest = stride < 0 ? count - 1 : count;
  const auto bound = [&](const Value& value, std::int64_t otherwise) {
    if (value.is_none()) return otherwise;
    std::int64_t at = part(value, 0);
    if (at < 0) at = at < -count ? -count - 1 : at + count;
    return std::min(std::max(at, lowest), highest);
  };
  const std::int64_t first = bound(begin, stride < 0 ? highest : lowest);
  const std::int64_t last = bound(end, stride < 0 ? lowest : highest);
  std::vector<std::size_t> chosen;
  for (std::int64_t i = first; stride < 0 ? i > last : i < last; i += stride) {
    chosen.push_back(static_cast<std::size_t>(i));
    if (std::abs(stride) > count) break;
  }
  return chosen;
}

[[noreturn]] void no_operation(const std::string& sign, const Value& a, const Value& b) {
  fail(std::string("computes ") + a.kind() + " " + sign + " " + b.kind());
}

std::int64_t integer_result(const std::string& sign, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool beyond = false;
  if (sign == "+") {
    beyond = __builtin_add_overflow(a, b, &result);
  } else if (sign == "-") {
    beyond = __builtin_sub_overflow(a, b, &result);
  } else if (sign == "*") {
    beyond = __builtin_mul_overflow(a, b, &result);
  } else if (sign == "**") {
    result = 1;
    if (b < 0) fail("computes a negative power");
    if (b > 64 && (a > 1 || a < -1)) beyond = true;
    for (std::int64_t i = 0; i < (b > 64 ? b % 2 + 2 : b) && !beyond; ++i)
      beyond = __builtin_mul_overflow(result, a, &result);
  } else {
    if (b == 0) fail("divides by 0");
    if (b == -1) {
      if (sign == "//") beyond = __builtin_sub_overflow(std::int64_t{0}, a, &result);
    } else {
      const bool down = a % b != 0 && (a % b < 0) != (b < 0);
      result = sign == "//" ? a / b - (down ? 1 : 0) : a % b + (down ? b : 0);
    }
  }
  if (beyond) fail("computes an integer beyond 64 bits");
  return result;
}

double real_result(const std::string& sign, double a, double b) {
  if (sign == "+") return a + b;
  if (sign == "-") return a - b;
  if (sign == "*") return a * b;
  if (sign == "**") return std::pow(a, b);
  if (b == 0) fail("divides by 0");
  if (sign == "/") return a / b;
  const double remainder = std::fmod(a, b);
  const bool down = remainder != 0 && (remainder < 0) != (b < 0);
  if (sign == "%") return down ? remainder + b : remainder;
  return std::floor((a - remainder) / b - (down ? 1 : 0) + 0.5);
}

std::string sized(std::string text) {
  if (text.size() > max_text_bytes) fail("makes a text too long");
  return text;
}

std::string repeated(const std::string& text, std::int64_t times) {
  if (times > 0 && text.size() * static_cast<std::uint64_t>(times) > (std::uint64_t{1} << 26))
    fail("a text too long");
  std::string out;
  if (text.empty()) return out;
  for (std::int64_t i = 0; i < times; ++i) out += text;
  return out;
}

void check_plain(const Value& value) {
  if (value.is_marked()) fail("computes with the outcome of a filter such as safe or map");
}

}  // namespace

Value member_of(const Value& object, const std::string& name) {
  if (object.is_undefined()) fail("looks for '" + printable(name, 40) + "' in what is undefined");
  if (object.names() != nullptr) {
    const Value* member = find(*object.names()->members, name);
    return member == nullptr ? Value() : *member;
  }
  Value method = method_of(object, name);
  if (!method.is_undefined() || object.dict() == nullptr) return method;
  const Value* item = find(*object.dict(), name);
  return item == nullptr ? Value() : *item;
}

Value item_of(const Value& object, const Value& key) {
  if (object.is_undefined()) fail("looks into what is undefined");
  check_plain(object);
  if (object.dict() != nullptr && key.text() != nullptr) {
    if (const Value* item = find(*object.dict(), *key.text()); item != nullptr) return *item;
  }
  if (key.text() != nullptr) {
    if (object.names() != nullptr || object.text() != nullptr) return member_of(object, *key.text());
    return method_of(object, *key.text());
  }
  const auto index = as_integer(key);
  if (!index) return {};
  if (object.list() != nullptr) {
    const auto at = position(*index, object.list()->size());
    return at ? (*object.list())[*at] : Value();
  }
  if (object.text() == nullptr) return {};
  const std::vector<std::string> characters = characters_of(*object.text());
  const auto at = position(*index, characters.size());
  return at ? Value(characters[*at]) : Value();
}

Value slice_of(const Value& object, const Value& begin, const Value& end, const Value& step) {
  check_plain(object);
  if (object.list() != nullptr) {
    List chosen;
    for (const std::size_t i : indices(begin, end, step, object.list()->size()))
      chosen.push_back((*object.list())[i]);
    return chosen;
  }
  if (object.text() == nullptr) fail(std::string("cuts a slice of ") + object.kind());
  const std::vector<std::string> characters = characters_of(*object.text());
  std::string chosen;
  for (const std::size_t i : indices(begin, end, step, characters.size())) chosen += characters[i];
  return chosen;
}

Value binary(const std::string& sign, const Value& a, const Value& b) {
  check_plain(a);
  check_plain(b);
  if (const auto x = as_integer(a), y = as_integer(b); x && y && sign != "/")
    return integer_result(sign, *x, *y);
  if (const auto x = as_real(a), y = as_real(b); x && y) return real_result(sign, *x, *y);
  if (sign == "+" && a.text() != nullptr && b.text() != nullptr) return sized(*a.text() + *b.text());
  if (sign == "+" && a.list() != nullptr && b.list() != nullptr) {
    List sum = *a.list();
    sum.insert(sum.end(), b.list()->begin(), b.list()->end());
    return sum;
  }
  if (sign == "*" && a.text() != nullptr && as_integer(b)) return repeated(*a.text(), *as_integer(b));
  if (sign == "*" && b.text() != nullptr && as_integer(a)) return repeated(*b.text(), *as_integer(a));
  if (sign == "%" && a.text() != nullptr) fail("fills a text by %, which is not supported");
  no_operation(sign, a, b);
}

bool compare(const std::string& sign, const Value& a, const Value& b) {
  if (sign == "==") return equal(a, b);
  if (sign == "!=") return !equal(a, b);
  if (sign == "in") return contains(b, a);
  if (sign == "not in") return !contains(b, a);
  if (sign == "<") return less(a, b);
  if (sign == ">") return less(b, a);
  return sign == "<=" ? less(a, b) || equal(a, b) : less(b, a) || equal(a, b);
}

std::string concatenated(const List& values) {
  std::string text;
  for (const Value& value : values) {
    check_plain(value);
    text += printed(value);
  }
  return sized(std::move(text));
}

}  // namespace galapagos::jinja
