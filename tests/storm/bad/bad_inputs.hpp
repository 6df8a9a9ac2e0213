#pragma once

#include "ledger.hpp"
#include "options.hpp"

namespace galapagos::storm {

/// Runs the program on bad inputs, as many as are asked for or there are; prints what came of them; how many
/// were not refused as they should.
std::int64_t try_bad_inputs(const Options& options, const Ledger& ledger);

}  // namespace galapagos::storm
