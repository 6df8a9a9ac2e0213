#pragma once

#include "syntax.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace galapagos::jinja {

struct Rendering {
  std::string text;
  /// Bytes of the text from first to before second that {% generation %} encloses.
  std::vector<std::pair<std::size_t, std::size_t>> generated;
};

/// What the template prints where its variables have these values. Throws a Fault where it cannot be
/// rendered, or refuses what it is given.
Rendering render(const Block& statements, const Dict& variables);

}  // namespace galapagos::jinja
