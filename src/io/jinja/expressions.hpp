#pragma once

#include "lexer.hpp"
#include "syntax.hpp"

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos::jinja {

/// Reads expressions from a template's tokens, with Jinja2's precedences.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<LexedToken> tokens) : tokens_(std::move(tokens)) {}

  const LexedToken& now() const { return tokens_[at_]; }
  const LexedToken& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool at(LexedToken::Kind kind) const { return now().kind == kind; }
  bool at_op(std::string_view sign) const { return at(LexedToken::Kind::op) && now().text == sign; }
  bool at_name(std::string_view name) const { return at(LexedToken::Kind::name) && now().text == name; }
  /// Passes over what is there, if it is that.
  bool take_op(std::string_view sign);
  bool take_name(std::string_view name);
  /// Throws a Fault where something else is there.
  void expect(LexedToken::Kind kind, const char* what);
  void expect_op(std::string_view sign);
  std::string expect_name();
  [[noreturn]] void bad(const std::string& what) const;

  /// An expression, perhaps `a if b else c`.
  ExpressionPtr expression();
  /// The same, or several with commas, which make a list.
  ExpressionPtr expressions();
  /// One that a loop goes over: an `if` behind it is not its own.
  ExpressionPtr without_condition() { return either(); }
  /// Filters behind a value.
  ExpressionPtr filters(ExpressionPtr value);

 private:
  static ExpressionPtr make(Expression::Kind kind, std::string text = "");
  /// Makes an expression, or null, the last of the items of another.
  void adopt(Expression& whole, ExpressionPtr item) const;
  ExpressionPtr made(Expression::Kind kind, std::string text, ExpressionPtr first,
                     ExpressionPtr second = nullptr) const;
  ExpressionPtr either();
  ExpressionPtr both();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  std::string comparison_sign();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr constant_or_name();
  ExpressionPtr brackets();
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr value);
  void arguments(Expression& call);
  ExpressionPtr filter(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);

  std::vector<LexedToken> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace galapagos::jinja
