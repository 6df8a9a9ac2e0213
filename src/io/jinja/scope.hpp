#pragma once

#include "syntax.hpp"

#include <map>
#include <memory>
#include <string>

namespace galapagos::jinja {

struct Scope;
using ScopePtr = std::shared_ptr<Scope>;

/// Variables by their names; those of the outer ones are seen, and never changed.
struct Scope {
  ScopePtr outer;
  std::map<std::string, Value> variables;

  /// Undefined where there is none.
  Value get(const std::string& name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer.get()) {
      const auto at = scope->variables.find(name);
      if (at != scope->variables.end()) return at->second;
    }
    return {};
  }
  void set(const std::string& name, Value value) { variables[name] = std::move(value); }
};

inline ScopePtr inner(const ScopePtr& outer) {
  return std::make_shared<Scope>(Scope{outer, {}});
}

Value evaluate(const Expression& expression, const Scope& scope);

}  // namespace galapagos::jinja
