#include "renderer.hpp"

#include "budget.hpp"
#include "builtins.hpp"
#include "scope.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos::jinja {
namespace {

enum class Flow : std::uint8_t { on, leave, go_on };

class Renderer {
 public:
  Rendering take() { return std::move(rendering_); }

  Flow run(const Block& block, const ScopePtr& scope, std::string& out) {
    const Level level;
    for (const Statement& statement : block) {
      const Flow flow = run(statement, scope, out);
      if (out.size() > max_text_bytes) fail("prints too much");
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  std::string& text() { return rendering_.text; }

 private:
  using Kind = Statement::Kind;

  Flow run(const Statement& statement, const ScopePtr& scope, std::string& out) {
    Budget::current()->line = statement.line;
    switch (statement.kind) {
      case Kind::data:
        spend(statement.text.size());
        out += statement.text;
        return Flow::on;
      case Kind::print:
        out += printed(evaluate(*statement.expression, *scope));
        return Flow::on;
      case Kind::choose:
        for (const auto& [condition, block] : statement.branches) {
          if (!condition || evaluate(*condition, *scope).truth()) return run(block, scope, out);
        }
        return Flow::on;
      case Kind::loop:
        return loop(statement, scope, out);
      case Kind::set:
        set(statement, *scope);
        return Flow::on;
      case Kind::capture:
        return capture(statement, scope);
      case Kind::macro:
        scope->set(statement.text, macro(statement, scope));
        return Flow::on;
      case Kind::generation: {
        const std::size_t begin = out.size();
        const Flow flow = run(statement.body, inner(scope), out);
        if (&out != &rendering_.text) return flow;
        auto& generated = rendering_.generated;
        while (!generated.empty() && generated.back().first >= begin) generated.pop_back();  // those within
        generated.emplace_back(begin, out.size());
        return flow;
      }
      case Kind::leave:
        return Flow::leave;
      default:
        return Flow::go_on;
    }
  }

  static void assign(const std::vector<std::string>& names, const Value& value, Scope& scope) {
    if (names.size() == 1) return scope.set(names[0], value);
    const List parts = items_of(value);
    if (parts.size() != names.size()) fail("takes apart what has another number of parts");
    for (std::size_t i = 0; i < names.size(); ++i) scope.set(names[i], parts[i]);
  }

  static void set(const Statement& statement, Scope& scope) {
    Value value = evaluate(*statement.expression, scope);
    if (statement.text.empty()) return assign(statement.names, value, scope);
    const Value target = scope.get(statement.text);
    if (target.names() == nullptr) fail("sets a member of '" + statement.text + "', which is no namespace");
    check_kept(value);
    put(*target.names()->members, statement.names[0], std::move(value));
  }

  Flow capture(const Statement& statement, const ScopePtr& scope) {
    std::string out;
    const ScopePtr body = inner(scope);
    const Flow flow = run(statement.body, body, out);
    if (flow != Flow::on) return flow;
    body->set("", Value(std::move(out)));
    scope->set(statement.names[0], evaluate(*statement.expression, *body));
    return Flow::on;
  }

  Flow loop(const Statement& statement, const ScopePtr& scope, std::string& out) {
    List items = items_of(evaluate(*statement.expression, *scope));
    if (statement.condition) {
      List kept;
      for (Value& item : items) {
        const ScopePtr one = inner(scope);
        assign(statement.names, item, *one);
        if (evaluate(*statement.condition, *one).truth()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      spend(4 * step_cost);
      const ScopePtr body = inner(scope);
      body->set("loop", place(items, i));
      assign(statement.names, items[i], *body);
      if (run(statement.body, body, out) == Flow::leave) break;
    }
    return items.empty() ? run(statement.otherwise, inner(scope), out) : Flow::on;
  }

  /// The variable `loop`.
  static Value place(const List& items, std::size_t i) {
    const auto index = static_cast<std::int64_t>(i), size = static_cast<std::int64_t>(items.size());
    auto members = std::make_shared<Dict>(Dict{{"index0", Value(index)},
                                               {"index", Value(index + 1)},
                                               {"revindex0", Value(size - index - 1)},
                                               {"revindex", Value(size - index)},
                                               {"length", Value(size)},
                                               {"first", Value(i == 0)},
                                               {"last", Value(index + 1 == size)},
                                               {"depth0", Value(std::int64_t{0})},
                                               {"depth", Value(std::int64_t{1})},
                                               {"previtem", i > 0 ? items[i - 1] : Value()},
                                               {"nextitem", i + 1 < items.size() ? items[i + 1] : Value()}});
    members->emplace_back("cycle", Function([i](const Arguments& a) {
                            if (a.positional.empty()) fail("loop.cycle needs values");
                            return a.positional[i % a.positional.size()];
                          }));
    return Value::Namespace{std::move(members)};
  }

  Value macro(const Statement& statement, const ScopePtr& scope) {
    const std::weak_ptr<Scope> outer = scope;
    return Function([this, &statement, outer](const Arguments& arguments) -> Value {
      const Level level(10);
      const int line = Budget::current()->line;
      const ScopePtr body = inner(outer.lock());
      if (arguments.positional.size() > statement.names.size())
        fail("too many arguments of " + statement.text);
      for (const auto& [name, unused] : arguments.named) {
        if (std::find(statement.names.begin(), statement.names.end(), name) == statement.names.end())
          fail("an argument '" + name + "' of " + statement.text);
      }
      // What it would be given beyond its parameters, which here is always refused.
      body->set("varargs", List{});
      body->set("kwargs", Dict{});
      body->set("caller", Value());
      const std::size_t required = statement.names.size() - statement.defaults.size();
      for (std::size_t i = 0; i < statement.names.size(); ++i) {
        const Value* given = arguments.find(i, statement.names[i]);
        if (given == nullptr && i >= required) {
          body->set(statement.names[i], evaluate(*statement.defaults[i - required], *body));
        } else {
          body->set(statement.names[i], given == nullptr ? Value() : *given);
        }
      }
      std::string out;
      run(statement.body, body, out);
      Budget::current()->line = line;
      return Value(std::move(out));
    });
  }

  Rendering rendering_;
};

}  // namespace

Rendering render(const Block& statements, const Dict& variables) {
  Budget budget;
  auto scope = std::make_shared<Scope>();
  for (const auto& [name, value] : globals()) scope->set(name, value);
  for (const auto& [name, value] : variables) scope->set(name, value);
  Renderer renderer;
  try {
    renderer.run(statements, scope, renderer.text());
  } catch (const Fault& fault) {
    throw Fault{fmt::format("{} (line {})", fault.what, budget.line)};
  }
  return renderer.take();
}

}  // namespace galapagos::jinja
