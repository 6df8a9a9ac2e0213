#include "budget.hpp"
#include "builtins.hpp"
#include "text.hpp"

#include <algorithm>
#include <map>

namespace galapagos::jinja {
namespace {

using Filter = Value (*)(const Value&, const Arguments&);

bool flag(const Arguments& arguments, std::size_t index, const char* name, bool otherwise = false) {
  const Value* value = arguments.find(index, name);
  return value == nullptr ? otherwise : value->truth();
}

std::string text_or(const Arguments& arguments, std::size_t index, const char* name,
                    const std::string& otherwise) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr || value->is_none()) return otherwise;
  return printed(*value);
}

/// What lies at a path like a.b.0.
Value attribute_of(Value value, const Value& path) {
  if (path.text() == nullptr) return item_of(value, path);
  spend(step_cost + path.text()->size());
  for (const std::string& part : split(*path.text(), ".")) {
    const bool number =
        !part.empty() && part.find_first_not_of("0123456789") == std::string::npos && part.size() < 10;
    value = item_of(value, number ? Value(static_cast<std::int64_t>(std::stoll(part))) : Value(part));
  }
  return value;
}

/// Those behind the first `count` ones.
Arguments rest_of(const Arguments& arguments, std::size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(
      rest.positional.begin(),
      rest.positional.begin() + static_cast<std::ptrdiff_t>(std::min(count, rest.positional.size())));
  return rest;
}

/// `attributes` of the arguments name what is tested, then comes the test, or none for truth.
template <bool wanted, std::size_t attributes>
Value selected(const Value& value, const Arguments& arguments) {
  if (arguments.positional.size() < attributes) fail("a selection needs the name of an attribute");
  const Value* test = arguments.find(attributes, "");
  if (test != nullptr && test->text() == nullptr) fail("a selection needs the name of a test");
  const Arguments rest = rest_of(arguments, attributes + 1);
  List chosen;
  for (const Value& item : items_of(value)) {
    const Value tested = attributes == 0 ? item : attribute_of(item, arguments.positional[0]);
    if ((test == nullptr ? tested.truth() : apply_test(*test->text(), tested, rest)) == wanted)
      chosen.push_back(item);
  }
  return Value::lazy(std::move(chosen));
}

Value mapped(const Value& value, const Arguments& arguments) {
  const Value* attribute = find(arguments.named, "attribute");
  const Value* otherwise = find(arguments.named, "default");
  const Arguments rest = rest_of(arguments, 1);
  List out;
  for (const Value& item : items_of(value)) {
    if (attribute != nullptr) {
      Value found = attribute_of(item, *attribute);
      out.push_back(found.is_undefined() && otherwise != nullptr ? *otherwise : std::move(found));
    } else {
      if (arguments.positional.empty() || arguments.positional[0].text() == nullptr)
        fail("map needs a filter");
      out.push_back(apply_filter(*arguments.positional[0].text(), item, rest));
    }
  }
  return Value::lazy(std::move(out));
}

Value with_default(const Value& value, const Arguments& arguments) {
  if (!value.is_undefined() && !(flag(arguments, 1, "boolean") && !value.truth())) return value;
  const Value* otherwise = arguments.find(0, "default_value");
  return otherwise == nullptr ? Value("") : *otherwise;
}

Value joined(const Value& value, const Arguments& arguments) {
  const std::string between = text_or(arguments, 0, "d", "");
  const Value* attribute = arguments.find(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& item : items_of(value)) {
    if (item.is_marked()) fail("joins the outcomes of the filter safe");
    if (!first) out += between;
    first = false;
    const std::string text =
        printed(attribute == nullptr || attribute->is_none() ? item : attribute_of(item, *attribute));
    spend(between.size() + text.size());
    out += text;
  }
  return out;
}

Value indented(const Value& value, const Arguments& arguments) {
  if (value.text() == nullptr) fail(std::string("indents ") + value.kind());
  const Value* width = arguments.find(0, "width");
  const bool first = flag(arguments, 1, "first"), blank = flag(arguments, 2, "blank");
  const std::string space =
      width != nullptr && width->text() != nullptr
          ? *width->text()
          : std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(
                            width == nullptr ? 4 : as_integer(*width).value_or(4), 0, 1000)),
                        ' ');
  const std::vector<std::string> lines = split_lines(printed(value) + "\n", false);
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    spend(step_cost + space.size());
    if (i == 0 ? first : blank || !lines[i].empty()) out += space;
    out += lines[i];
  }
  return out;
}

Value json_text(const Value& value, const Arguments& arguments) {
  const Value* ascii = arguments.find(0, "ensure_ascii");
  const Value* indent = arguments.find(1, "indent");
  const Value* separators = arguments.find(2, "separators");
  const bool lines = indent != nullptr && !indent->is_none();
  if (lines && !as_integer(*indent)) fail("tojson with an indent that is no number");
  std::string items = lines ? "," : ", ", keys = ": ";
  if (separators != nullptr && !separators->is_none()) {
    if (separators->list() == nullptr || separators->list()->size() != 2) fail("tojson needs two separators");
    items = printed(separators->list()->at(0));
    keys = printed(separators->list()->at(1));
  }
  const int width = lines ? static_cast<int>(std::clamp<std::int64_t>(*as_integer(*indent), 0, 100)) : -1;
  return to_json(value, width, ascii != nullptr && ascii->truth(), flag(arguments, 3, "sort_keys"), items,
                 keys);
}

/// Without regard to large and small letters unless told otherwise.
Value sort_key(const Value& value, bool case_sensitive) {
  return value.text() != nullptr && !case_sensitive ? Value(lower(*value.text())) : value;
}

List sorted(List items, bool case_sensitive, bool reverse, const std::function<Value(const Value&)>& key) {
  std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
    const Value x = sort_key(key(a), case_sensitive), y = sort_key(key(b), case_sensitive);
    return reverse ? less(y, x) : less(x, y);
  });
  return items;
}

Value entries(const Value& value, const Arguments&) {
  if (value.is_undefined()) return Value::lazy({});
  if (value.dict() == nullptr) fail(std::string("items of ") + value.kind());
  List items;
  for (const auto& [key, item] : *value.dict()) items.emplace_back(List{Value(key), item});
  return Value::lazy(std::move(items));
}

Value sorted_entries(const Value& value, const Arguments& arguments) {
  const std::int64_t part = text_or(arguments, 1, "by", "key") == "value" ? 1 : 0;
  return sorted(items_of(entries(value, {})), flag(arguments, 0, "case_sensitive"),
                flag(arguments, 2, "reverse"),
                [&](const Value& entry) { return item_of(entry, Value(part)); });
}

Value sorted_items(const Value& value, const Arguments& arguments) {
  const Value* attribute = arguments.find(2, "attribute");
  return sorted(items_of(value), flag(arguments, 1, "case_sensitive"), flag(arguments, 0, "reverse"),
                [&](const Value& item) {
                  return attribute == nullptr || attribute->is_none() ? item : attribute_of(item, *attribute);
                });
}

Value unique(const Value& value, const Arguments& arguments) {
  List seen, out;
  for (const Value& item : items_of(value)) {
    const Value key = sort_key(item, flag(arguments, 0, "case_sensitive"));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& each) { return equal(each, key); })) continue;
    seen.push_back(key);
    out.push_back(item);
  }
  return Value::lazy(std::move(out));
}

Value length(const Value& value, const Arguments&) {
  if (const auto length = length_of(value)) return *length;
  fail(std::string("the length of ") + value.kind());
}

Value reversed(const Value& value, const Arguments&) {
  List items = items_of(value);
  std::reverse(items.begin(), items.end());
  if (value.text() != nullptr) return concatenated(items);
  return value.is_lazy() ? Value(std::move(items)) : Value::lazy(std::move(items));
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> table = {
      {"trim",
       [](const Value& v, const Arguments& a) {
         const Value* characters = a.find(0, "chars");
         const bool given = characters != nullptr && !characters->is_none();
         if (given && characters->text() == nullptr) fail("trim needs a text");
         return Value(
             strip(printed(v), Strip::both, given ? std::optional(*characters->text()) : std::nullopt));
       }},
      {"upper", [](const Value& v, const Arguments&) { return Value(upper(printed(v))); }},
      {"lower", [](const Value& v, const Arguments&) { return Value(lower(printed(v))); }},
      {"capitalize", [](const Value& v, const Arguments&) { return Value(capitalized(printed(v))); }},
      {"string", [](const Value& v, const Arguments&) { return v.is_marked() ? v : Value(printed(v)); }},
      {"safe", [](const Value& v, const Arguments&) { return Value::safe(printed(v)); }},
      {"replace",
       [](const Value& v, const Arguments& a) {
         if (a.find(0, "old") == nullptr || a.find(1, "new") == nullptr) fail("replace needs two texts");
         const Value* count = a.find(2, "count");
         const std::int64_t most =
             count == nullptr || count->is_none() ? -1 : as_integer(*count).value_or(-1);
         return Value(replaced(printed(v), text_or(a, 0, "old", ""), text_or(a, 1, "new", ""), most));
       }},
      {"first",
       [](const Value& v, const Arguments&) {
         const List items = items_of(v);
         return items.empty() ? Value() : items.front();
       }},
      {"last",
       [](const Value& v, const Arguments&) {
         if (v.is_lazy()) fail("the last one of what a filter such as map has made");
         const List items = items_of(v);
         return items.empty() ? Value() : items.back();
       }},
      {"list", [](const Value& v, const Arguments&) { return Value(items_of(v)); }},
      {"length", length},
      {"count", length},
      {"default", with_default},
      {"d", with_default},
      {"join", joined},
      {"int", to_integer},
      {"indent", indented},
      {"tojson", json_text},
      {"items", entries},
      {"dictsort", sorted_entries},
      {"sort", sorted_items},
      {"unique", unique},
      {"reverse", reversed},
      {"map", mapped},
      {"select", selected<true, 0>},
      {"reject", selected<false, 0>},
      {"selectattr", selected<true, 1>},
      {"rejectattr", selected<false, 1>},
  };
  return table;
}

/// The texts that a filter may go over, once for each item where it is one of map.
void spend_on(const Value& value, const Arguments& arguments) {
  const auto cost = [](const Value& each) { return each.text() == nullptr ? 1 : each.text()->size(); };
  spend(step_cost + cost(value));
  for (const Value& each : arguments.positional) spend(cost(each));
  for (const auto& [unused, each] : arguments.named) spend(cost(each));
}

}  // namespace

bool is_filter(const std::string& name) {
  return filters().contains(name);
}

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto filter = filters().find(name);
  if (filter == filters().end()) fail("the filter '" + name + "' is not supported");
  spend_on(value, arguments);
  const bool takes_marked =
      value.list() != nullptr || name == "string" || name == "safe" || name == "default" || name == "d";
  if (value.is_marked() && !takes_marked) fail("computes with the outcome of the filter safe");
  return filter->second(value, arguments);
}

}  // namespace galapagos::jinja
