#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/search/racing_options.hpp>
#include <galapagos/search/relaxation_options.hpp>
#include <galapagos/search/start.hpp>
#include <galapagos/search/topology.hpp>

namespace galapagos {

enum class StrategyKind : std::uint8_t {
  evolution,    ///< offspring are mutations of the island's parent (DarwinLM)
  random,       ///< offspring are random assignments of the same budget: the baseline
  sensitivity,  ///< no generations: what the islands begin with is compared
  racing,       ///< challengers of a parent are paired with it on common tokens, see Race
};

/// "evolution", "random", "sensitivity" or "racing".
std::string name_of(StrategyKind strategy);

/// One stage of a selection.
struct SelectionStage {
  std::int64_t survivors = 1;
  std::int64_t tokens = 0;           ///< calibration tokens on which candidates are compared
  std::int64_t training_tokens = 0;  ///< on which each is fine-tuned before; 0: not at all
};

/// What the islands do.
struct EvolutionOptions {
  std::int64_t islands = 1;
  std::int64_t generations = 200;
  std::int64_t offspring = 16;
  std::int64_t proposals = 0;  ///< of the offspring, made by the surrogate; needs end losses
  std::vector<SelectionStage> stages;
  Topology topology;
  StrategyKind strategy = StrategyKind::evolution;
  Start start;                      ///< of the islands; the random strategy begins with random assignments
  std::int64_t compare_tokens = 0;  ///< of the common comparison of the islands
  std::int64_t eval_every = 0;      ///< generations from one comparison to the next; 0: only at the end
  std::uint64_t seed = 0;
  RelaxationOptions relaxation;  ///< with StartKind::gradient
  RacingOptions racing;          ///< with StrategyKind::racing
};

/// Whether any stage fine-tunes its candidates.
bool trains(const EvolutionOptions& options);

}  // namespace galapagos
