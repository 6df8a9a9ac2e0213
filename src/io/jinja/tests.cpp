#include "budget.hpp"
#include "builtins.hpp"

#include <map>

namespace galapagos::jinja {
namespace {

using Test = bool (*)(const Value&, const Arguments&);

const Value& other(const Arguments& arguments) {
  if (arguments.positional.size() != 1) fail("a test that compares needs one value to compare with");
  return arguments.positional[0];
}

std::int64_t whole(const Value& value) {
  if (const auto integer = as_integer(value)) return *integer;
  fail(std::string("a test of whole numbers on ") + value.kind());
}

bool is_number(const Value& value) {
  return as_real(value).has_value();
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.text() != nullptr || value.list() != nullptr ||
         value.dict() != nullptr;
}

const std::map<std::string, Test>& tests() {
  static const std::map<std::string, Test> table = [] {
    std::map<std::string, Test> all = {
        {"defined", [](const Value& v, const Arguments&) { return !v.is_undefined(); }},
        {"undefined", [](const Value& v, const Arguments&) { return v.is_undefined(); }},
        {"none", [](const Value& v, const Arguments&) { return v.is_none(); }},
        {"boolean", [](const Value& v, const Arguments&) { return v.boolean() != nullptr; }},
        {"true", [](const Value& v, const Arguments&) { return v.boolean() != nullptr && *v.boolean(); }},
        {"false", [](const Value& v, const Arguments&) { return v.boolean() != nullptr && !*v.boolean(); }},
        {"integer", [](const Value& v, const Arguments&) { return v.integer() != nullptr; }},
        {"float", [](const Value& v, const Arguments&) { return v.real() != nullptr; }},
        {"number", [](const Value& v, const Arguments&) { return is_number(v); }},
        {"string", [](const Value& v, const Arguments&) { return v.text() != nullptr; }},
        {"mapping", [](const Value& v, const Arguments&) { return v.dict() != nullptr; }},
        {"iterable", [](const Value& v, const Arguments&) { return is_iterable(v); }},
        {"sequence",
         [](const Value& v, const Arguments&) { return is_iterable(v) && length_of(v).has_value(); }},
        {"callable",
         [](const Value& v, const Arguments&) { return v.function() != nullptr || v.is_undefined(); }},
        {"odd", [](const Value& v, const Arguments&) { return whole(v) % 2 != 0; }},
        {"even", [](const Value& v, const Arguments&) { return whole(v) % 2 == 0; }},
        {"divisibleby",
         [](const Value& v, const Arguments& a) { return !binary("%", whole(v), other(a)).truth(); }},
        {"in", [](const Value& v, const Arguments& a) { return contains(other(a), v); }},
        {"eq", [](const Value& v, const Arguments& a) { return equal(v, other(a)); }},
        {"ne", [](const Value& v, const Arguments& a) { return !equal(v, other(a)); }},
        {"lt", [](const Value& v, const Arguments& a) { return compare("<", v, other(a)); }},
        {"le", [](const Value& v, const Arguments& a) { return compare("<=", v, other(a)); }},
        {"gt", [](const Value& v, const Arguments& a) { return compare(">", v, other(a)); }},
        {"ge", [](const Value& v, const Arguments& a) { return compare(">=", v, other(a)); }},
    };
    for (const auto& [alias, name] :
         {std::pair("equalto", "eq"), std::pair("==", "eq"), std::pair("!=", "ne"), std::pair("<", "lt"),
          std::pair("lessthan", "lt"), std::pair("<=", "le"), std::pair(">", "gt"),
          std::pair("greaterthan", "gt"), std::pair(">=", "ge")})
      all[alias] = all[name];
    return all;
  }();
  return table;
}

}  // namespace

bool is_test(const std::string& name) {
  return tests().contains(name);
}

bool apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto test = tests().find(name);
  if (test == tests().end()) fail("the test '" + name + "' is not supported");
  spend(step_cost);
  return test->second(value, arguments);
}

}  // namespace galapagos::jinja
