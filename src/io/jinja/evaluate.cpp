#include "budget.hpp"
#include "builtins.hpp"
#include "scope.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::jinja {
namespace {

using Kind = Expression::Kind;

Arguments arguments_of(const Expression& call, const Scope& scope) {
  Arguments arguments;
  const std::size_t first = call.items.size() - call.arguments;
  for (std::size_t i = 0; i < call.arguments; ++i) {
    Value value = evaluate(*call.items[first + i], scope);
    if (call.names[i].empty()) {
      arguments.positional.push_back(std::move(value));
    } else {
      arguments.named.emplace_back(call.names[i], std::move(value));
    }
  }
  return arguments;
}

Value called(const Expression& call, const Scope& scope) {
  const Expression& callee = *call.items[0];
  const Value function = evaluate(callee, scope);
  if (function.function() == nullptr) {
    fail(fmt::format("calls '{}', which is {}", printable(callee.text, 40),
                     function.is_undefined() ? "not supported or undefined" : function.kind()));
  }
  return (*function.function())(arguments_of(call, scope));
}

Value dict_of(const Expression& expression, const Scope& scope) {
  Dict dict;
  for (std::size_t i = 0; i + 1 < expression.items.size(); i += 2) {
    const Value key = evaluate(*expression.items[i], scope);
    if (key.text() == nullptr) fail("a dictionary's key that is no text is not supported");
    put(dict, *key.text(), evaluate(*expression.items[i + 1], scope));
  }
  return dict;
}

Value unary(const Expression& expression, const Scope& scope) {
  const Value value = evaluate(*expression.items[0], scope);
  if (expression.text == "not") return !value.truth();
  if (!as_real(value)) fail(std::string("the sign of ") + value.kind());
  if (value.real() != nullptr) return expression.text == "-" ? -*value.real() : *value.real();
  return binary(expression.text, Value(std::int64_t{0}), value);
}

/// a < b < c: every pair, left to right, as far as they hold.
Value compared(const Expression& expression, const Scope& scope) {
  Value left = evaluate(*expression.items[0], scope);
  for (std::size_t i = 0; i < expression.names.size(); ++i) {
    Value right = evaluate(*expression.items[i + 1], scope);
    if (!compare(expression.names[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

List values_of(const Expression& expression, const Scope& scope) {
  List values;
  for (const ExpressionPtr& item : expression.items) values.push_back(evaluate(*item, scope));
  return values;
}

Value part(const ExpressionPtr& expression, const Scope& scope) {
  return expression ? evaluate(*expression, scope) : Value(Value::None{});
}

Value computed(const Expression& e, const Scope& scope) {
  switch (e.kind) {
    case Kind::constant:
      return e.value;
    case Kind::name:
      return scope.get(e.text);
    case Kind::list:
      return values_of(e, scope);
    case Kind::dict:
      return dict_of(e, scope);
    case Kind::member:
      return member_of(evaluate(*e.items[0], scope), e.text);
    case Kind::item:
      return item_of(evaluate(*e.items[0], scope), evaluate(*e.items[1], scope));
    case Kind::slice:
      return slice_of(evaluate(*e.items[0], scope), part(e.items[1], scope), part(e.items[2], scope),
                      part(e.items[3], scope));
    case Kind::call:
      return called(e, scope);
    case Kind::filter:
      return apply_filter(e.text, evaluate(*e.items[0], scope), arguments_of(e, scope));
    case Kind::test:
      return apply_test(e.text, evaluate(*e.items[0], scope), arguments_of(e, scope));
    case Kind::unary:
      return unary(e, scope);
    case Kind::binary: {
      const Value left = evaluate(*e.items[0], scope);
      return binary(e.text, left, evaluate(*e.items[1], scope));
    }
    case Kind::concat:
      return concatenated(values_of(e, scope));
    case Kind::compare:
      return compared(e, scope);
    case Kind::both: {
      Value left = evaluate(*e.items[0], scope);
      return left.truth() ? evaluate(*e.items[1], scope) : left;
    }
    case Kind::either: {
      Value left = evaluate(*e.items[0], scope);
      return left.truth() ? left : evaluate(*e.items[1], scope);
    }
    case Kind::conditional:
      if (evaluate(*e.items[0], scope).truth()) return evaluate(*e.items[1], scope);
      return e.items[2] ? evaluate(*e.items[2], scope) : Value();
  }
  return {};
}

}  // namespace

Value evaluate(const Expression& expression, const Scope& scope) {
  const Level level;
  Value value = computed(expression, scope);
  // What is done with a text may take as long as it is.
  spend(step_cost + (value.text() == nullptr ? 0 : value.text()->size() / 16));
  return value;
}

}  // namespace galapagos::jinja
