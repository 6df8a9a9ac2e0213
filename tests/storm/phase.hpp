#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace galapagos::storm {

using Words = std::vector<std::string>;

/// A command on small inputs whose runs are to end alike whatever befalls them.
struct Phase {
  std::string name;
  int ranks = 1;
  int weight = 1;      ///< how often it is drawn
  Words words;         ///< without --output
  std::string output;  ///< name of what it makes
  bool stops = true;   ///< ends in order when told to, and takes up what it finds
  bool shards = false;
  int islands = 0;
  std::vector<std::filesystem::path> read = {};  ///< files whose damage it has to notice
  /// What is done of a run, as its files say; throws where they do not hold what they say.
  std::function<std::int64_t(const std::filesystem::path& output)> progress = {};

  Words command(const std::filesystem::path& folder) const;
};

/// What phases read, made once in a folder: sensitivities, database, assignment, pruned model.
void make_inputs(const std::filesystem::path& folder);

/// All phases, reading the inputs in a folder.
std::vector<Phase> all_phases(const std::filesystem::path& inputs);

}  // namespace galapagos::storm
