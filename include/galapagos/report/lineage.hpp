#pragma once

#include <string>
#include <vector>

#include <galapagos/report/run_data.hpp>

// Whom the best assignment of a search descends from. A search does not write down parents, but an
// offspring's parent is what its island held before, and an immigrant is known by its levels.
namespace galapagos::report {

struct Ancestor {
  Place place;
  std::string origin;  ///< how it came about: "mutation", "immigrant", ..., "parent": as the one before
  double fitness = unknown;
  Levels levels;
};

/// From the start to the best; empty where nothing says what the islands held. `complete` says whether the
/// line reaches back to generation 1.
struct Lineage {
  std::vector<Ancestor> line;
  bool complete = false;
  bool of_best = false;  ///< whether it ends at best.txt, else at the best island's last
};
Lineage lineage_of_best(const RunData& run);

/// Where a module got the level that it has at the end: the ancestor's place; island -1 where it is the
/// start's.
std::vector<Place> places_of_levels(const RunData& run, const Lineage& lineage);

}  // namespace galapagos::report
