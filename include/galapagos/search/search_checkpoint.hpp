#pragma once

#include <string>

#include <galapagos/search/population.hpp>

namespace galapagos {

/// A search as it can be taken up again.
struct SearchCheckpoint {
  std::string identity;  ///< JSON: everything that decides the course of the search
  Population population;
  double seconds = 0;  ///< spent so far, over all runs
};

}  // namespace galapagos
