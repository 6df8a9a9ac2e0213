#include "expressions.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::jinja {
namespace {

using Kind = Expression::Kind;
using Lexed = LexedToken::Kind;

constexpr int deepest = 100;
constexpr int longest = 1000;

}  // namespace

void ExpressionParser::bad(const std::string& what) const {
  fail(fmt::format("{} (line {})", what, now().line));
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

ExpressionPtr ExpressionParser::make(Kind kind, std::string text) {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->text = std::move(text);
  return made;
}

void ExpressionParser::adopt(Expression& whole, ExpressionPtr item) const {
  if (item) whole.depth = std::max(whole.depth, item->depth + 1);
  if (whole.depth > longest) bad("an expression too long");
  whole.items.push_back(std::move(item));
}

ExpressionPtr ExpressionParser::made(Kind kind, std::string text, ExpressionPtr first,
                                     ExpressionPtr second) const {
  ExpressionPtr result = make(kind, std::move(text));
  adopt(*result, std::move(first));
  if (second) adopt(*result, std::move(second));
  return result;
}

ExpressionPtr ExpressionParser::expression() {
  if (++depth_ > deepest) bad("nested too deeply");
  ExpressionPtr value = either();
  while (take_name("if")) {
    ExpressionPtr choice = make(Kind::conditional);
    adopt(*choice, either());
    adopt(*choice, std::move(value));
    adopt(*choice, take_name("else") ? expression() : nullptr);
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
    adopt(*list, expression());
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
    adopt(*left, sum());
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
  while (take_op("~")) adopt(*left, product());
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

}  // namespace galapagos::jinja
