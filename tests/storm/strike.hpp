#pragma once

#include "event.hpp"
#include "phase.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <string>

namespace galapagos::storm {

/// How a command went that something befell.
struct Struck {
  test::Ended ended;
  bool befell = false;  ///< false where it had ended before
  double seconds = 0;   ///< from then to its end
  std::string wrong;    ///< what should not be, in words; empty where all is well
};

/// Runs the phase's command on the disk at `folder` and lets the event happen to it.
Struck strike(const Phase& phase, const std::filesystem::path& folder, const DiskMemory& disk,
              const Event& event, double whole);

/// Runs it to its end, undisturbed.
test::Ended run_whole(const Phase& phase, const std::filesystem::path& folder, const DiskMemory& disk,
                      const Words& more = {});

/// What is wrong with the words of a program that was to end with one error line of this code; empty if
/// nothing.
std::string wrong_with_error(const test::Ended& ended, const std::string& names);

}  // namespace galapagos::storm
