#pragma once

#include "fault.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace galapagos::jinja {

class Value;
using List = std::vector<Value>;
/// Keys in their order; those of templates are texts.
using Dict = std::vector<std::pair<std::string, Value>>;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The `index`-th one, or the one of that name.
  const Value* find(std::size_t index, const std::string& name) const;
};
using Function = std::function<Value(const Arguments&)>;

/// What a template computes with: Python's values as far as chat templates use them. Texts, lists, tuples and
/// dictionaries never change once made; only a namespace does. Made while a template is rendered, they count
/// against its budget.
class Value {
 public:
  struct Undefined {};
  struct None {};
  struct Namespace {
    std::shared_ptr<Dict> members;
  };

  Value() = default;  ///< undefined
  Value(None value) : data_(value) {}
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value);
  Value(const char* value) : Value(std::string(value)) {}
  Value(List value);  ///< of what may be kept, as the next
  Value(Dict value);
  Value(Namespace value) : data_(std::move(value)) {}
  Value(Function value) : data_(std::make_shared<const Function>(std::move(value))) {}
  /// A text that the filter `safe` has passed, which Python no longer joins as others: it may only be
  /// printed.
  static Value safe(std::string text);
  /// What Python makes as it is asked for: always true, without length, used up by what first goes over it.
  static Value lazy(List items);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const std::int64_t* integer() const { return std::get_if<std::int64_t>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const std::string* text() const { return pointer<std::string>(); }
  const List* list() const { return pointer<List>(); }
  const Dict* dict() const { return pointer<Dict>(); }
  const Namespace* names() const { return std::get_if<Namespace>(&data_); }
  const Function* function() const { return pointer<Function>(); }
  bool is_marked() const { return marked_; }
  bool is_lazy() const { return used_ != nullptr; }
  /// Throws a Fault for a lazy one that has been used up.
  void use_up() const;
  /// How many levels of lists and dictionaries it has.
  int depth() const { return depth_; }

  /// As Python's bool().
  bool truth() const;
  /// The name of its kind, for messages.
  const char* kind() const;

 private:
  template <typename T>
  const T* pointer() const {
    const auto* held = std::get_if<std::shared_ptr<const T>>(&data_);
    return held == nullptr ? nullptr : held->get();
  }

  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, Namespace,
               std::shared_ptr<const Function>>
      data_;
  std::shared_ptr<bool> used_;  // of a lazy list
  std::uint8_t depth_ = 0;
  bool marked_ = false;  // of a text: safe, of a list: lazy
};

/// Throws a Fault for what may not be kept in a list, dictionary or namespace: one that is nested too deeply,
/// and a namespace or function, in which it could come to hold itself.
void check_kept(const Value& value);

/// As Python's ==.
bool equal(const Value& a, const Value& b);
/// As Python's a < b; fails for values that have no order.
bool less(const Value& a, const Value& b);
/// As Python's `item in container`.
bool contains(const Value& container, const Value& item);
/// An integer, or a bool as Python takes it for one.
std::optional<std::int64_t> as_integer(const Value& value);
/// A number as a floating one.
std::optional<double> as_real(const Value& value);
/// As Python's str(), what {{ }} prints; fails for lists and dictionaries, whose Python spelling no model is
/// meant to read.
std::string printed(const Value& value);
/// As Python's repr() of a floating number.
std::string printed(double value);
/// A number that is all of `text`, spelled without white space; nothing where there is none, or none of 64
/// bits.
std::optional<double> real_of(std::string_view text);
/// The items that a loop goes over: of a list, the keys of a dictionary, the characters of a text. Uses up
/// what is lazy.
List items_of(const Value& value);
/// Of a list, dictionary or text (characters); nothing for others.
std::optional<std::int64_t> length_of(const Value& value);
/// The value under a key of a dictionary; null where there is none.
const Value* find(const Dict& dict, const std::string& key);
/// Sets the value under a key, in its place where there is one.
void put(Dict& dict, const std::string& key, Value value);
/// The characters of a valid UTF-8 text, each as a text.
std::vector<std::string> characters_of(const std::string& text);
/// As transformers' tojson filter: json.dumps with these settings; `indent` below 0 for one line.
std::string to_json(const Value& value, int indent, bool ascii, bool sort_keys,
                    const std::string& item_separator, const std::string& key_separator);

}  // namespace galapagos::jinja
