#pragma once

#include <cstdint>
#include <set>
#include <utility>

#include <galapagos/search/token_draw.hpp>

namespace galapagos {

/// What an island's incumbent loses on tokens that are held back.
struct Watched {
  std::int64_t island = 0, generation = 0;
  double loss = 0;  ///< per token
};

/// How incumbents are watched while a race goes on; nothing in it follows from that.
struct Watching {
  std::int64_t every = 0;           ///< generations, but for the last one; 0: never
  const TokenDraw* draw = nullptr;  ///< on which; nothing: never
  std::set<std::pair<std::int64_t, std::int64_t>> before = {};  ///< islands and generations already watched

  bool due(std::int64_t island, std::int64_t generation, std::int64_t generations) const {
    return draw != nullptr && every > 0 && generation < generations && generation % every == 0 &&
           !before.contains({island, generation});
  }
};

}  // namespace galapagos
