#pragma once

#include <string>

namespace galapagos {

/// Whether a run goes on with what an earlier one has left: where it fits, only so, or never.
enum class Resume { automatic, yes, no };

/// What is said to who has stopped a run.
inline constexpr const char* go_on = "the same command goes on";

/// What an earlier run has left.
enum class Found : int { nothing, unfinished, complete };

/// InputError where something of a `run` ("search") was found and `resume` says no, or nothing and it says
/// yes.
void check_found(Resume resume, Found found, const std::string& run, const std::string& where);

}  // namespace galapagos
