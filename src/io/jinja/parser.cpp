#include "builtins.hpp"
#include "expressions.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <initializer_list>

#include <galapagos/core/error.hpp>

namespace galapagos::jinja {
namespace {

using Kind = Statement::Kind;
using Lexed = LexedToken::Kind;
using Ends = std::initializer_list<const char*>;

class StatementParser {
 public:
  explicit StatementParser(std::vector<LexedToken> tokens) : in_(std::move(tokens)) {}

  Block whole() {
    Block all = block({});
    if (!in_.at(Lexed::end))
      in_.bad(fmt::format("'{}' without its beginning", printable(in_.now().text, 40)));
    return all;
  }

 private:
  bool at_one_of(Ends ends) const {
    return std::any_of(ends.begin(), ends.end(), [&](const char* end) { return in_.at_name(end); });
  }

  void expect_end() { in_.expect(Lexed::block_end, "the end of the tag"); }

  /// Statements up to a tag that is one of `ends`, whose `{%` is passed over.
  Block block(Ends ends) {
    constexpr int deepest = 100;
    if (++depth_ > deepest) in_.bad("nested too deeply");
    Block statements;
    while (!in_.at(Lexed::end)) {
      if (in_.at(Lexed::data)) {
        statements.push_back(begun(Kind::data));
        statements.back().text = in_.next().text;
      } else if (in_.at(Lexed::print_begin)) {
        in_.next();
        statements.push_back(begun(Kind::print));
        statements.back().expression = in_.expressions();
        in_.expect(Lexed::print_end, "}}");
      } else {
        in_.expect(Lexed::block_begin, "{%");
        if (at_one_of(ends)) break;
        if (ends.size() == 0 && (in_.now().text.starts_with("end") || at_one_of({"else", "elif"})))
          in_.bad("'" + printable(in_.now().text, 40) + "' without its beginning");
        statements.push_back(statement());
      }
    }
    if (in_.at(Lexed::end) && ends.size() > 0) in_.bad(fmt::format("'{}' is missing", *(ends.end() - 1)));
    --depth_;
    return statements;
  }

  Statement begun(Kind kind) const {
    Statement statement;
    statement.kind = kind;
    statement.line = in_.now().line;
    return statement;
  }

  Statement statement() {
    if (in_.take_name("if")) return choose();
    if (in_.take_name("for")) return loop();
    if (in_.take_name("set")) return set();
    if (in_.take_name("macro")) return macro();
    if (in_.take_name("generation")) {
      Statement statement = begun(Kind::generation);
      expect_end();
      statement.body = block({"endgeneration"});
      end_of_block();
      return statement;
    }
    if (at_one_of({"break", "continue"})) {
      Statement statement = begun(in_.at_name("break") ? Kind::leave : Kind::go_on);
      if (loops_ == 0) in_.bad("'" + in_.now().text + "' outside a loop");
      in_.next();
      expect_end();
      return statement;
    }
    in_.bad("the statement '" + printable(in_.now().text, 40) + "' is not supported");
  }

  void end_of_block() {
    in_.next();
    expect_end();
  }

  Statement choose() {
    Statement statement = begun(Kind::choose);
    while (true) {
      ExpressionPtr condition = in_.expressions();
      expect_end();
      statement.branches.emplace_back(std::move(condition), block({"elif", "else", "endif"}));
      if (in_.take_name("elif")) continue;
      if (in_.take_name("else")) {
        expect_end();
        statement.branches.emplace_back(nullptr, block({"endif"}));
      }
      end_of_block();
      return statement;
    }
  }

  std::vector<std::string> targets() {
    std::vector<std::string> names;
    const bool bracket = in_.take_op("(");
    do {
      names.push_back(in_.expect_name());
    } while (in_.take_op(","));
    if (bracket) in_.expect_op(")");
    return names;
  }

  Statement loop() {
    Statement statement = begun(Kind::loop);
    statement.names = targets();
    if (!in_.take_name("in")) in_.bad("'for' without 'in'");
    statement.expression = in_.without_condition();
    if (in_.take_name("if")) statement.condition = in_.expression();
    if (in_.at_name("recursive")) in_.bad("a recursive loop is not supported");
    expect_end();
    ++loops_;
    statement.body = block({"else", "endfor"});
    --loops_;
    if (in_.take_name("else")) {
      expect_end();
      statement.otherwise = block({"endfor"});
    }
    end_of_block();
    return statement;
  }

  Statement set() {
    Statement statement = begun(Kind::set);
    statement.names = targets();
    if (statement.names.size() == 1 && in_.take_op(".")) {
      statement.text = statement.names[0];
      statement.names[0] = in_.expect_name();
    }
    if (in_.take_op("=")) {
      statement.expression = in_.expressions();
      expect_end();
      return statement;
    }
    if (statement.names.size() != 1 || !statement.text.empty()) in_.bad("'set' without '='");
    statement.kind = Kind::capture;
    auto printed = std::make_unique<Expression>();
    printed->kind = Expression::Kind::name;
    statement.expression = in_.filters(std::move(printed));
    expect_end();
    statement.body = block({"endset"});
    end_of_block();
    return statement;
  }

  Statement macro() {
    Statement statement = begun(Kind::macro);
    statement.text = in_.expect_name();
    in_.expect_op("(");
    while (!in_.take_op(")")) {
      if (!statement.names.empty()) {
        in_.expect_op(",");
        if (in_.take_op(")")) break;
      }
      statement.names.push_back(in_.expect_name());
      if (in_.take_op("=")) {
        statement.defaults.push_back(in_.expression());
      } else if (!statement.defaults.empty()) {
        in_.bad("a parameter without a default behind one that has one");
      }
    }
    expect_end();
    const int loops = std::exchange(loops_, 0);
    statement.body = block({"endmacro"});
    loops_ = loops;
    end_of_block();
    return statement;
  }

  ExpressionParser in_;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Block parse(std::string_view source) {
  return StatementParser(lex(source)).whole();
}

}  // namespace galapagos::jinja
