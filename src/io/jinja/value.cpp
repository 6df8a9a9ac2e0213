#include "value.hpp"

#include "../utf8.hpp"
#include "budget.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include <galapagos/core/utf8.hpp>

namespace galapagos::jinja {
namespace {

constexpr int deepest = 200;

/// The depth of what holds the item.
std::uint8_t level_above(const Value& item) {
  check_kept(item);
  return static_cast<std::uint8_t>(item.depth() + 1);
}

}  // namespace

void check_kept(const Value& value) {
  if (value.names() != nullptr || value.function() != nullptr)
    fail(std::string("keeps ") + value.kind() + " in another value, which is not supported");
  if (value.depth() >= deepest) fail("nests values too deeply");
}

const Value* Arguments::find(std::size_t index, const std::string& name) const {
  if (index < positional.size()) return &positional[index];
  return jinja::find(named, name);
}

Value::Value(std::string value) {
  spend(step_cost + value.size());
  data_ = std::make_shared<const std::string>(std::move(value));
}

Value::Value(List value) {
  spend(step_cost + value.size() * sizeof(Value));
  for (const Value& item : value) depth_ = std::max(depth_, level_above(item));
  data_ = std::make_shared<const List>(std::move(value));
}

Value::Value(Dict value) {
  spend(step_cost + value.size() * sizeof(Dict::value_type));
  for (const auto& [unused, item] : value) depth_ = std::max(depth_, level_above(item));
  data_ = std::make_shared<const Dict>(std::move(value));
}

void Value::use_up() const {
  if (!is_lazy()) return;
  if (*used_)
    fail("goes a second time over what a filter such as map has made; put '| list' behind the filter");
  *used_ = true;
}

Value Value::safe(std::string text) {
  Value value(std::move(text));
  value.marked_ = true;
  return value;
}

Value Value::lazy(List items) {
  Value value(std::move(items));
  value.marked_ = true;
  value.used_ = std::make_shared<bool>(false);
  return value;
}

bool Value::truth() const {
  if (boolean() != nullptr) return *boolean();
  if (integer() != nullptr) return *integer() != 0;
  if (real() != nullptr) return *real() != 0;
  if (text() != nullptr) return !text()->empty();
  if (list() != nullptr) return marked_ || !list()->empty();
  if (dict() != nullptr) return !dict()->empty();
  return names() != nullptr || function() != nullptr;
}

const char* Value::kind() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "none";
  if (boolean() != nullptr) return "a bool";
  if (integer() != nullptr || real() != nullptr) return "a number";
  if (text() != nullptr) return "a text";
  if (list() != nullptr) return "a list";
  if (dict() != nullptr) return "a dictionary";
  return names() != nullptr ? "a namespace" : "a function";
}

std::optional<std::int64_t> as_integer(const Value& value) {
  if (value.boolean() != nullptr) return *value.boolean() ? 1 : 0;
  if (value.integer() != nullptr) return *value.integer();
  return std::nullopt;
}

std::optional<double> as_real(const Value& value) {
  if (value.real() != nullptr) return *value.real();
  if (const auto integer = as_integer(value)) return static_cast<double>(*integer);
  return std::nullopt;
}

bool equal(const Value& a, const Value& b) {
  spend(4);
  if (const auto x = as_integer(a), y = as_integer(b); x && y) return *x == *y;
  if (const auto x = as_real(a), y = as_real(b); x && y) return *x == *y;
  if (a.text() != nullptr && b.text() != nullptr) {
    spend(std::min(a.text()->size(), b.text()->size()) / 16);
    return *a.text() == *b.text();
  }
  if (a.is_lazy() || b.is_lazy()) return a.list() == b.list();
  if (a.list() != nullptr && b.list() != nullptr) {
    return std::equal(a.list()->begin(), a.list()->end(), b.list()->begin(), b.list()->end(), equal);
  }
  if (a.dict() != nullptr && b.dict() != nullptr) {
    if (a.dict()->size() != b.dict()->size()) return false;
    return std::all_of(a.dict()->begin(), a.dict()->end(), [&](const auto& entry) {
      const Value* other = find(*b.dict(), entry.first);
      return other != nullptr && equal(entry.second, *other);
    });
  }
  if (a.names() != nullptr && b.names() != nullptr) return a.names()->members == b.names()->members;
  if (a.function() != nullptr) return a.function() == b.function();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b) {
  spend(4);
  if (const auto x = as_integer(a), y = as_integer(b); x && y) return *x < *y;
  if (const auto x = as_real(a), y = as_real(b); x && y) return *x < *y;
  if (a.text() != nullptr && b.text() != nullptr) {
    spend(std::min(a.text()->size(), b.text()->size()) / 16);
    return *a.text() < *b.text();
  }
  if (a.list() != nullptr && b.list() != nullptr && !a.is_lazy() && !b.is_lazy()) {
    const auto [x, y] =
        std::mismatch(a.list()->begin(), a.list()->end(), b.list()->begin(), b.list()->end(), equal);
    if (x == a.list()->end() || y == b.list()->end()) return y != b.list()->end();
    return less(*x, *y);
  }
  fail(std::string("compares ") + a.kind() + " with " + b.kind());
}

bool contains(const Value& container, const Value& item) {
  if (container.text() != nullptr) {
    if (item.text() == nullptr) fail(std::string("looks for ") + item.kind() + " in a text");
    spend_search(container.text()->size(), item.text()->size());
    return container.text()->find(*item.text()) != std::string::npos;
  }
  if (container.dict() != nullptr)
    return item.text() != nullptr && find(*container.dict(), *item.text()) != nullptr;
  const List items = items_of(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& each) { return equal(each, item); });
}

std::optional<double> real_of(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::string printed(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto scientific = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string text(buffer, scientific.ptr);
  const int exponent = std::atoi(text.c_str() + text.find('e') + 1);
  if (exponent >= -4 && exponent < 16) {
    const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
    text.assign(buffer, fixed.ptr);
    if (text.find('.') == std::string::npos) text += ".0";
  }
  return text;
}

std::string printed(const Value& value) {
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.boolean() != nullptr) return *value.boolean() ? "True" : "False";
  if (value.integer() != nullptr) return std::to_string(*value.integer());
  if (value.real() != nullptr) return printed(*value.real());
  if (value.text() != nullptr) return *value.text();
  fail(std::string("prints ") + value.kind());
}

List items_of(const Value& value) {
  value.use_up();
  if (value.list() != nullptr) {
    spend(value.list()->size() * sizeof(Value));
    return *value.list();
  }
  List items;
  if (value.dict() != nullptr) {
    for (const auto& [key, unused] : *value.dict()) items.emplace_back(key);
  } else if (value.text() != nullptr) {
    for (std::string& character : characters_of(*value.text())) items.emplace_back(std::move(character));
  } else if (!value.is_undefined()) {
    fail(std::string("goes over ") + value.kind());
  }
  return items;
}

std::optional<std::int64_t> length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.list() != nullptr && value.is_marked()) return std::nullopt;
  if (value.list() != nullptr) return static_cast<std::int64_t>(value.list()->size());
  if (value.dict() != nullptr) return static_cast<std::int64_t>(value.dict()->size());
  if (value.text() == nullptr) return std::nullopt;
  return std::count_if(value.text()->begin(), value.text()->end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; });
}

const Value* find(const Dict& dict, const std::string& key) {
  spend(dict.size());
  const auto at =
      std::find_if(dict.begin(), dict.end(), [&](const auto& entry) { return entry.first == key; });
  return at == dict.end() ? nullptr : &at->second;
}

void put(Dict& dict, const std::string& key, Value value) {
  spend(dict.size());
  const auto at =
      std::find_if(dict.begin(), dict.end(), [&](const auto& entry) { return entry.first == key; });
  if (at == dict.end()) {
    dict.emplace_back(key, std::move(value));
  } else {
    at->second = std::move(value);
  }
}

std::vector<std::string> characters_of(const std::string& text) {
  spend(text.size() * sizeof(std::string));
  std::vector<std::string> characters;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = std::max<std::size_t>(utf8_length(text, at), 1);
    characters.push_back(text.substr(at, bytes));
    at += bytes;
  }
  return characters;
}

}  // namespace galapagos::jinja
