#pragma once

#include "value.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

/// `items` are what it is made of: operands, the object first, then arguments.
struct Expression {
  enum class Kind : std::uint8_t {
    constant,
    name,         ///< text
    list,         ///< items
    dict,         ///< items: key, value, key, value, ...
    member,       ///< items[0].text
    item,         ///< items[0][items[1]]
    slice,        ///< items[0][items[1]:items[2]:items[3]], null where left out
    call,         ///< items[0](arguments)
    filter,       ///< items[0] | text(arguments)
    test,         ///< items[0] is text(arguments)
    unary,        ///< text: "-", "+", "not"
    binary,       ///< text: "+", "-", "*", "/", "//", "%", "**"
    concat,       ///< items ~ ... ~ items
    compare,      ///< items[0] names[0] items[1] names[1] ...: "==", "in", "not in", ...
    both,         ///< items[0] and items[1]
    either,       ///< items[0] or items[1]
    conditional,  ///< items[1] if items[0] else items[2], which may be null
  };
  Kind kind = Kind::constant;
  std::string text;
  Value value;
  std::vector<ExpressionPtr> items;
  std::vector<std::string> names;  ///< of arguments, the last of the items; "" for one by its place
  std::size_t arguments = 0;       ///< how many of the items
  int depth = 0;                   ///< levels of expressions below it
};

struct Statement;
using Block = std::vector<Statement>;

struct Statement {
  enum class Kind : std::uint8_t {
    data,        ///< text
    print,       ///< expression
    choose,      ///< branches: where an expression is true, or null for else, its block
    loop,        ///< names in expression, perhaps if condition; body, otherwise
    set,         ///< names = expression; or text.names[0] = expression
    capture,     ///< names[0] = what the body prints, through the filters around a name "" in expression
    macro,       ///< text(names), defaults for the last of them; body
    generation,  ///< body, which a model is to learn to write
    leave,       ///< break
    go_on,       ///< continue
  };
  Kind kind = Kind::data;
  std::string text;
  ExpressionPtr expression;
  ExpressionPtr condition;
  std::vector<std::string> names;
  std::vector<ExpressionPtr> defaults;
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block body;
  Block otherwise;
  int line = 1;
};

/// The template's statements. Throws a Fault where it is not Jinja, or uses what is not supported: a
/// statement, a filter, a test.
Block parse(std::string_view source);

}  // namespace galapagos::jinja
