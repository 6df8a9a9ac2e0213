#pragma once

#include "support/files.hpp"
#include "support/small_run.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <galapagos/assignment/stitched_source.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/model/evaluate.hpp>

namespace galapagos::test {

inline TokenSet random_tokens(std::int64_t vocabulary) {
  std::mt19937 random(9);
  TokenSet set;
  for (int sequence = 0; sequence < 9; ++sequence) {
    for (int i = 0; i < 20 + 7 * sequence; ++i) {
      set.tokens.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary)));
    }
    set.offsets.push_back(set.tokens.size());
  }
  return set;
}

/// A model with its database, opened.
struct Parent {
  std::filesystem::path folder;
  HfConfig config;
  Checkpoint checkpoint;
  DatabaseReader database;
  SearchSpace space;

  Parent(const Communicator& world, const std::filesystem::path& model, const std::filesystem::path& file)
      : folder(model),
        config(read_hf_config(model)),
        checkpoint(model),
        database(file),
        space(load_space(world, database, config, hex64(checkpoint.fingerprint()))) {}
};

/// Collective. A small model of the tests' data with its database, which is built in the folder.
inline Parent small_parent(const Communicator& world, const std::string& name, const SharedFolder& folder) {
  const std::filesystem::path file = folder / "a.h5";
  build_database(world, ops::Context(), small_database(name, file));
  return Parent(world, data_file("models/" + name), file);
}

/// Layer 0 without attention, layer 1 without a feed-forward part, layer 2 with neither (where there are so
/// many), the others at levels drawn at random.
inline Assignment with_holes(const SearchSpace& space) {
  std::mt19937 random(3);
  Assignment assignment;
  for (const ModuleChoices& module : space.modules) {
    const bool attention = module.id.kind == ModuleKind::attention;
    const bool gone = module.id.layer == 2 || module.id.layer == (attention ? 0 : 1);
    assignment.push_back(
        gone ? module.last()
             : static_cast<std::int16_t>(random() % static_cast<unsigned>(module.last() + 1)));
  }
  return assignment;
}

inline std::vector<double> nll_of(const Communicator& world, const ModelSource& source,
                                  const TokenSet& data) {
  EvaluationOptions options;
  options.memory_limit = std::uint64_t{1} << 34;
  std::vector<double> nll;
  for (const SequenceScore& score : score_sequences(world, ops::Context(), source, nullptr, data, options)) {
    nll.push_back(score.nll / static_cast<double>(score.predicted));
  }
  return nll;
}

inline std::vector<double> nll_of_folder(const Communicator& world, const std::filesystem::path& folder,
                                         const TokenSet& data) {
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  return nll_of(world, checkpoint_source(checkpoint, config, DType::f32, Device::cpu), data);
}

/// What a search measures of an assignment, in memory.
inline std::vector<double> nll_in_memory(const Communicator& world, const Parent& parent,
                                         const Assignment& assignment, const TokenSet& data) {
  const ops::Context context;
  return nll_of(world,
                stitched_source(context, parent.checkpoint, parent.config, parent.database, parent.space,
                                assignment, DType::f32),
                data);
}

inline double farthest(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace galapagos::test
