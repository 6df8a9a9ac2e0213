#pragma once

#include "findings.hpp"
#include "phase.hpp"

namespace galapagos::storm {

/// A run of a phase that nothing befell.
struct Reference {
  Findings findings;
  double seconds = 0;
  long syncs = 0;
};

/// Made once in a folder and kept there.
Reference reference_of(const Phase& phase, const std::filesystem::path& folder);

}  // namespace galapagos::storm
