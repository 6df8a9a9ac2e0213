#pragma once

#include <cstddef>

namespace galapagos {

/// Memory that one rank has the values of, as long on every rank.
struct GatheredPart {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
  int owner = 0;
};

}  // namespace galapagos
