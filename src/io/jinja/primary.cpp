#include "builtins.hpp"
#include "expressions.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::jinja {
namespace {

using Kind = Expression::Kind;
using Lexed = LexedToken::Kind;

}  // namespace

ExpressionPtr ExpressionParser::primary() {
  if (at(Lexed::op)) return brackets();
  if (at(Lexed::name)) return constant_or_name();
  ExpressionPtr constant = make(Kind::constant);
  if (at(Lexed::text)) {
    std::string text;
    while (at(Lexed::text)) text += next().text;
    constant->value = Value(std::move(text));
    return constant;
  }
  const std::string& number = now().text;
  if (at(Lexed::integer)) {
    if (number.size() > 18) bad("an integer beyond 64 bits");
    constant->value = Value(static_cast<std::int64_t>(std::stoll(number)));
  } else if (at(Lexed::real)) {
    const std::optional<double> real = real_of(number);
    if (!real) bad("a number that is too large or small");
    constant->value = Value(*real);
  } else {
    bad("the expression ends too early");
  }
  next();
  return constant;
}

ExpressionPtr ExpressionParser::constant_or_name() {
  const std::string name = next().text;
  ExpressionPtr constant = make(Kind::constant);
  if (name == "true" || name == "True") {
    constant->value = Value(true);
  } else if (name == "false" || name == "False") {
    constant->value = Value(false);
  } else if (name == "none" || name == "None") {
    constant->value = Value(Value::None{});
  } else {
    return make(Kind::name, name);
  }
  return constant;
}

ExpressionPtr ExpressionParser::brackets() {
  if (take_op("(")) {
    if (take_op(")")) return make(Kind::list);
    ExpressionPtr inner = expressions();
    expect_op(")");
    return inner;
  }
  const bool dict = at_op("{");
  if (!dict && !at_op("[")) bad(fmt::format("'{}' where a value should be", now().text));
  next();
  ExpressionPtr group = make(dict ? Kind::dict : Kind::list);
  const char* end = dict ? "}" : "]";
  while (!take_op(end)) {
    if (!group->items.empty()) {
      expect_op(",");
      if (take_op(end)) break;
    }
    adopt(*group, expression());
    if (!dict) continue;
    expect_op(":");
    adopt(*group, expression());
  }
  return group;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr value) {
  while (true) {
    if (take_op(".")) {
      if (at(Lexed::integer)) {
        ExpressionPtr index = primary();
        value = made(Kind::item, "", std::move(value), std::move(index));
      } else {
        const std::string name = expect_name();
        value = made(Kind::member, name, std::move(value));
      }
    } else if (take_op("[")) {
      value = subscript(std::move(value));
    } else if (at_op("(")) {
      value = made(Kind::call, "", std::move(value));
      arguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr value) {
  ExpressionPtr parts[3];
  std::size_t colons = 0;
  while (!at_op("]")) {
    if (at_op(",")) bad("an index of several parts");
    if (!at_op(":")) parts[colons] = expression();
    if (at_op(":") && ++colons > 2) bad("a slice of too many parts");
    if (!at_op("]")) expect_op(":");
  }
  expect_op("]");
  if (colons == 0) {
    if (!parts[0]) bad("an index is missing");
    return made(Kind::item, "", std::move(value), std::move(parts[0]));
  }
  ExpressionPtr slice = made(Kind::slice, "", std::move(value));
  for (ExpressionPtr& part : parts) adopt(*slice, std::move(part));
  return slice;
}

void ExpressionParser::arguments(Expression& call) {
  expect_op("(");
  while (!take_op(")")) {
    if (call.arguments > 0) {
      expect_op(",");
      if (take_op(")")) break;
    }
    if (at_op("*") || at_op("**")) bad("arguments from a list or dictionary are not supported");
    const bool named = at(Lexed::name) && tokens_[at_ + 1].kind == Lexed::op && tokens_[at_ + 1].text == "=";
    call.names.push_back(named ? next().text : "");
    if (named) next();
    adopt(call, expression());
    ++call.arguments;
  }
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr value) {
  while (true) {
    if (take_op("|")) {
      value = filter(std::move(value));
    } else if (take_name("is")) {
      value = test(std::move(value));
    } else if (at_op("(")) {
      value = made(Kind::call, "", std::move(value));
      arguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr value) {
  const std::string name = expect_name();
  if (!is_filter(name)) bad("the filter '" + printable(name, 40) + "' is not supported");
  ExpressionPtr filtered = made(Kind::filter, name, std::move(value));
  if (at_op("(")) arguments(*filtered);
  return filtered;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const bool negated = take_name("not");
  const std::string name = expect_name();
  if (!is_test(name)) bad("the test '" + printable(name, 40) + "' is not supported");
  ExpressionPtr result = made(Kind::test, name, std::move(value));
  const bool word = at(Lexed::name) && !at_name("else") && !at_name("or") && !at_name("and") &&
                    !at_name("is") && !at_name("if") && !at_name("in") && !at_name("not");
  if (at_op("(")) {
    arguments(*result);
  } else if (word || at(Lexed::text) || at(Lexed::integer) || at(Lexed::real) || at_op("[") || at_op("{")) {
    adopt(*result, postfix(primary()));
    result->names.emplace_back();
    ++result->arguments;
  }
  return negated ? made(Kind::unary, "not", std::move(result)) : std::move(result);
}

}  // namespace galapagos::jinja
