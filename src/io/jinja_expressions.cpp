#include "jinja_expressions.hpp"

#include "jinja_builtins.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::jinja {
namespace {

using Kind = Expression::Kind;
using Lexed = LexedToken::Kind;

constexpr int deepest = 100;

}  // namespace

void ExpressionParser::bad(const std::string& what) const {
  throw InputError(what, fmt::format("chat template, line {}", now().line), "");
}

bool ExpressionParser::take_op(std::string_view sign) {
  if (!at_op(sign)) return false;
  next();
  return true;
}

bool ExpressionParser::take_name(std::string_view name) {
  if (!at_name(name)) return false;
  next();
  return true;
}

void ExpressionParser::expect(Lexed kind, const char* what) {
  if (!at(kind)) bad(fmt::format("'{}' where {} should be", printable(now().text, 40), what));
  next();
}

void ExpressionParser::expect_op(std::string_view sign) {
  if (!take_op(sign)) bad(fmt::format("'{}' where '{}' should be", printable(now().text, 40), sign));
}

std::string ExpressionParser::expect_name() {
  if (!at(Lexed::name)) bad(fmt::format("'{}' where a name should be", printable(now().text, 40)));
  return next().text;
}

ExpressionPtr ExpressionParser::make(Kind kind, std::string text) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->text = std::move(text);
  made->line = now().line;
  return made;
}

ExpressionPtr ExpressionParser::made(Kind kind, std::string text, ExpressionPtr first,
                                     ExpressionPtr second) const {
  ExpressionPtr result = make(kind, std::move(text));
  result->depth = 1 + std::max(first->depth, second ? second->depth : 0);
  if (result->depth > 20 * deepest) bad("an expression too long");
  result->items.push_back(std::move(first));
  if (second) result->items.push_back(std::move(second));
  return result;
}

ExpressionPtr ExpressionParser::expression() {
  if (++depth_ > deepest) bad("nested too deeply");
  ExpressionPtr value = either();
  while (take_name("if")) {
    ExpressionPtr choice = make(Kind::conditional);
    choice->items.push_back(either());
    choice->items.push_back(std::move(value));
    choice->items.push_back(take_name("else") ? expression() : nullptr);
    value = std::move(choice);
  }
  --depth_;
  return value;
}

ExpressionPtr ExpressionParser::expressions() {
  ExpressionPtr first = expression();
  if (!at_op(",")) return first;
  ExpressionPtr list = made(Kind::list, "", std::move(first));
  while (take_op(",")) {
    if (at(Lexed::block_end) || at(Lexed::print_end) || at_op(")")) break;
    list->items.push_back(expression());
  }
  return list;
}

ExpressionPtr ExpressionParser::either() {
  ExpressionPtr left = both();
  while (take_name("or")) left = made(Kind::either, "", std::move(left), both());
  return left;
}

ExpressionPtr ExpressionParser::both() {
  ExpressionPtr left = negation();
  while (take_name("and")) left = made(Kind::both, "", std::move(left), negation());
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (!take_name("not")) return comparison();
  if (++depth_ > deepest) bad("nested too deeply");
  ExpressionPtr operand = negation();
  --depth_;
  return made(Kind::unary, "not", std::move(operand));
}

/// The sign of a comparison, passed over; "" where there is none.
std::string ExpressionParser::comparison_sign() {
  for (const char* sign : {"==", "!=", ">=", "<=", ">", "<"}) {
    if (take_op(sign)) return sign;
  }
  if (take_name("in")) return "in";
  if (at_name("not") && tokens_[at_ + 1].kind == Lexed::name && tokens_[at_ + 1].text == "in") {
    next();
    next();
    return "not in";
  }
  return "";
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr left = sum();
  std::string sign = comparison_sign();
  if (sign.empty()) return left;
  left = made(Kind::compare, "", std::move(left));
  for (; !sign.empty(); sign = comparison_sign()) {
    left->names.push_back(sign);
    left->items.push_back(sum());
  }
  return left;
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (at_op("+") || at_op("-")) {
    const std::string sign = next().text;
    left = made(Kind::binary, sign, std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr left = product();
  if (!at_op("~")) return left;
  left = made(Kind::concat, "", std::move(left));
  while (take_op("~")) left->items.push_back(product());
  return left;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (at_op("*") || at_op("/") || at_op("//") || at_op("%")) {
    const std::string sign = next().text;
    left = made(Kind::binary, sign, std::move(left), power());
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary(true);
  while (take_op("**")) left = made(Kind::binary, "**", std::move(left), unary(true));
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  ExpressionPtr value;
  if (at_op("-") || at_op("+")) {
    const std::string sign = next().text;
    if (++depth_ > deepest) bad("nested too deeply");
    value = made(Kind::unary, sign, unary(false));
    --depth_;
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters(std::move(value)) : std::move(value);
}

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
    constant->value = Value(std::stod(number));
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
    group->items.push_back(expression());
    if (!dict) continue;
    expect_op(":");
    group->items.push_back(expression());
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
  for (ExpressionPtr& part : parts) slice->items.push_back(std::move(part));
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
    call.items.push_back(expression());
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
    result->items.push_back(postfix(primary()));
    result->names.emplace_back();
    ++result->arguments;
  }
  return negated ? made(Kind::unary, "not", std::move(result)) : std::move(result);
}

}  // namespace galapagos::jinja
