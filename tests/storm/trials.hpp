#pragma once

#include "ledger.hpp"
#include "options.hpp"

#include <string>

namespace galapagos::storm {

/// Trials, several at a time, until there are enough or the time is up; those that the ledger has are passed
/// over.
void run_trials(const Options& options, const Ledger& ledger);

}  // namespace galapagos::storm
