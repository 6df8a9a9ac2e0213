#include "budget.hpp"
#include "builtins.hpp"
#include "text.hpp"

#include <algorithm>
#include <map>

namespace galapagos::jinja {
namespace {

using TextMethod = Value (*)(const std::string&, const Arguments&);
using DictMethod = Value (*)(const Dict&, const Arguments&);

const std::string& text_argument(const Arguments& arguments, std::size_t index, const char* name) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr || value->text() == nullptr) fail("a method of a text needs another text");
  return *value->text();
}

/// None where it is not given.
std::optional<std::string> optional_text(const Arguments& arguments, std::size_t index, const char* name) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr || value->is_none()) return std::nullopt;
  return text_argument(arguments, index, name);
}

std::int64_t count_argument(const Arguments& arguments, std::size_t index, const char* name) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr) return -1;
  if (const auto count = as_integer(*value)) return *count;
  fail("a method of a text needs a number");
}

List texts(const std::vector<std::string>& parts) {
  return {parts.begin(), parts.end()};
}

template <Strip side>
Value stripped(const std::string& text, const Arguments& arguments) {
  return strip(text, side, optional_text(arguments, 0, "chars"));
}

template <bool from_right>
Value cut(const std::string& text, const Arguments& arguments) {
  return texts(
      split(text, optional_text(arguments, 0, "sep"), count_argument(arguments, 1, "maxsplit"), from_right));
}

/// Whether it holds for the text, or for one of a list of them.
template <bool at_end>
Value begins_or_ends(const std::string& text, const Arguments& arguments) {
  if (arguments.positional.size() != 1) fail("startswith and endswith with limits are not supported");
  const Value& given = arguments.positional[0];
  const List all = given.list() != nullptr ? *given.list() : List{given};
  return std::any_of(all.begin(), all.end(), [&](const Value& each) {
    if (each.text() == nullptr) fail("startswith and endswith need texts");
    return at_end ? text.ends_with(*each.text()) : text.starts_with(*each.text());
  });
}

std::int64_t characters_before(const std::string& text, std::size_t at) {
  return at == std::string::npos ? -1 : *length_of(text.substr(0, at));
}

std::int64_t occurrences(const std::string& text, const std::string& part) {
  if (part.empty()) return *length_of(text) + 1;
  spend_search(text.size(), part.size());
  std::int64_t found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

Value joined(const std::string& text, const Arguments& arguments) {
  if (arguments.positional.size() != 1) fail("join needs a list");
  std::string out;
  bool first = true;
  for (const Value& item : items_of(arguments.positional[0])) {
    if (item.text() == nullptr) fail(std::string("joins ") + item.kind());
    if (!first) spend(text.size());
    if (!first) out += text;
    first = false;
    out += *item.text();
  }
  return out;
}

Value without_prefix(const std::string& text, const Arguments& arguments) {
  const std::string& prefix = text_argument(arguments, 0, "");
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

Value without_suffix(const std::string& text, const Arguments& arguments) {
  const std::string& suffix = text_argument(arguments, 0, "");
  return text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text;
}

const std::map<std::string, TextMethod>& text_methods() {
  static const std::map<std::string, TextMethod> table = {
      {"strip", stripped<Strip::both>},
      {"lstrip", stripped<Strip::left>},
      {"rstrip", stripped<Strip::right>},
      {"split", cut<false>},
      {"rsplit", cut<true>},
      {"startswith", begins_or_ends<false>},
      {"endswith", begins_or_ends<true>},
      {"removeprefix", without_prefix},
      {"removesuffix", without_suffix},
      {"join", joined},
      {"upper", [](const std::string& t, const Arguments&) { return Value(upper(t)); }},
      {"lower", [](const std::string& t, const Arguments&) { return Value(lower(t)); }},
      {"capitalize", [](const std::string& t, const Arguments&) { return Value(capitalized(t)); }},
      {"title", [](const std::string& t, const Arguments&) { return Value(titled(t)); }},
      {"replace",
       [](const std::string& t, const Arguments& a) {
         return Value(
             replaced(t, text_argument(a, 0, ""), text_argument(a, 1, ""), count_argument(a, 2, "count")));
       }},
      {"find",
       [](const std::string& t, const Arguments& a) {
         if (a.positional.size() != 1) fail("find with limits is not supported");
         spend_search(t.size(), text_argument(a, 0, "").size());
         return Value(characters_before(t, t.find(text_argument(a, 0, ""))));
       }},
      {"rfind",
       [](const std::string& t, const Arguments& a) {
         if (a.positional.size() != 1) fail("rfind with limits is not supported");
         spend_search(t.size(), text_argument(a, 0, "").size());
         return Value(characters_before(t, t.rfind(text_argument(a, 0, ""))));
       }},
      {"count", [](const std::string& t,
                   const Arguments& a) { return Value(occurrences(t, text_argument(a, 0, ""))); }},
      {"splitlines",
       [](const std::string& t, const Arguments& a) {
         const Value* keep = a.find(0, "keepends");
         return Value(texts(split_lines(t, keep != nullptr && keep->truth())));
       }},
  };
  return table;
}

Value entries(const Dict& dict, const Arguments&) {
  List items;
  for (const auto& [key, value] : dict) items.emplace_back(List{Value(key), value});
  return items;
}

Value keys(const Dict& dict, const Arguments&) {
  List items;
  for (const auto& [key, unused] : dict) items.emplace_back(key);
  return items;
}

Value values(const Dict& dict, const Arguments&) {
  List items;
  for (const auto& [unused, value] : dict) items.push_back(value);
  return items;
}

Value got(const Dict& dict, const Arguments& arguments) {
  if (arguments.positional.empty()) fail("get needs a key");
  const Value& key = arguments.positional[0];
  const Value* found = key.text() == nullptr ? nullptr : find(dict, *key.text());
  if (found != nullptr) return *found;
  const Value* otherwise = arguments.find(1, "default");
  return otherwise != nullptr ? *otherwise : Value(Value::None{});
}

const std::map<std::string, DictMethod>& dict_methods() {
  const auto refused = [](const Dict&, const Arguments&) -> Value { fail("changes a dictionary"); };
  static const std::map<std::string, DictMethod> table = {
      {"items", entries},
      {"keys", keys},
      {"values", values},
      {"get", got},
      {"copy", [](const Dict& dict, const Arguments&) { return Value(dict); }},
      {"clear", refused},
      {"fromkeys", refused},
      {"pop", refused},
      {"popitem", refused},
      {"setdefault", refused},
      {"update", refused},
  };
  return table;
}

Value list_method(const Value& object, const std::string& name) {
  if (name == "count") {
    return Function([object](const Arguments& a) {
      const List& list = *object.list();
      if (a.positional.size() != 1) fail("count needs one value");
      return Value(static_cast<std::int64_t>(std::count_if(
          list.begin(), list.end(), [&](const Value& item) { return equal(item, a.positional[0]); })));
    });
  }
  if (name == "index") {
    return Function([object](const Arguments& a) {
      const List& list = *object.list();
      if (a.positional.size() != 1) fail("index needs one value");
      const auto at = std::find_if(list.begin(), list.end(),
                                   [&](const Value& item) { return equal(item, a.positional[0]); });
      if (at == list.end()) fail("index of what is not in the list");
      return Value(static_cast<std::int64_t>(at - list.begin()));
    });
  }
  for (const char* changing :
       {"append", "extend", "insert", "pop", "remove", "clear", "reverse", "sort", "copy"}) {
    if (name == changing) return Function([](const Arguments&) -> Value { fail("changes a list"); });
  }
  return {};
}

}  // namespace

Value method_of(const Value& object, const std::string& name) {
  if (object.text() != nullptr) {
    const auto method = text_methods().find(name);
    if (method == text_methods().end()) return {};
    if (object.is_marked()) fail("computes with the outcome of the filter safe");
    return Function([object, call = method->second](const Arguments& a) { return call(*object.text(), a); });
  }
  if (object.dict() != nullptr) {
    const auto method = dict_methods().find(name);
    if (method == dict_methods().end()) return {};
    return Function([object, call = method->second](const Arguments& a) { return call(*object.dict(), a); });
  }
  return object.list() != nullptr && !object.is_marked() ? list_method(object, name) : Value();
}

}  // namespace galapagos::jinja
