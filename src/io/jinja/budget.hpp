#pragma once

#include <cstddef>

namespace galapagos::jinja {

/// What a rendering may cost, so that no template hangs, fills the memory or the stack: about the bytes that
/// it makes, and some for each step. While one lives it counts what its thread computes; outside a rendering
/// nothing is counted.
class Budget {
 public:
  Budget();
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  int line = 0;  ///< of the statement that runs, 0 before the first one

  /// The one of this thread, if there is one.
  static Budget* current();

 private:
  friend void spend(std::size_t cost);
  friend class Level;

  std::size_t left_;
  int depth_ = 0;
  Budget* outer_;
};

constexpr std::size_t step_cost = 32;

/// Throws a Fault where the rendering has cost too much.
void spend(std::size_t cost);
/// For a search that may compare the part at each place of the text.
void spend_search(std::size_t text, std::size_t part);

/// While it lives, a rendering is this much deeper in its expressions, blocks and macros. Throws a Fault
/// where that is too deep.
class Level {
 public:
  explicit Level(int levels = 1);
  ~Level();
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Budget* budget_;
  int levels_;
};

}  // namespace galapagos::jinja
