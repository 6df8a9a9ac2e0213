#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace galapagos::storm {

/// What is asked for on the command line.
struct Options {
  std::filesystem::path folder;
  std::uint64_t seed = 1;
  double minutes = 0;               ///< 0: as long as it takes
  std::int64_t kills = 0;           ///< events that befall runs; 0: as many as there is time for
  std::vector<std::string> phases;  ///< beginnings of names; all where there are none
  std::vector<std::string> kinds;   ///< of trials: kills, damage, disk, memory
  int jobs = 2;
  std::optional<std::uint64_t> run;  ///< this trial alone
  bool fresh = false;                ///< forgets what the folder's ledgers say
  std::int64_t bad_inputs = 0;       ///< these, and no trials
};

/// Throws std::invalid_argument where they cannot be understood.
Options read_options(int argc, char** argv);

}  // namespace galapagos::storm
