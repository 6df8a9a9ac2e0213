#pragma once

#include <cstdint>
#include <string>

namespace galapagos {

/// Bytes of memory that this node can still give (MemAvailable, or the rest of the control group's limit
/// where that is less).
std::uint64_t available_memory();

/// The time now, UTC, ISO 8601.
std::string utc_now();

/// Whether this processor has the instructions that the program was compiled for; where not, what is missing.
std::string missing_instructions();

/// Processors that this process may run on.
int usable_processors();

}  // namespace galapagos
