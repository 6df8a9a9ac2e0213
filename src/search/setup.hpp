#pragma once

#include "run_archive.hpp"
#include "timing_choice.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/search/choice_questions.hpp>
#include <galapagos/search/population.hpp>
#include <galapagos/search/search_options.hpp>
#include <galapagos/search/strategy.hpp>
#include <galapagos/search/token_blocks.hpp>

namespace galapagos {

/// Everything that all ranks agree on before the work begins.
struct SearchSetup {
  SearchOptions options;  ///< with the target, the start and the tokens of comparison that they came to
  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  std::optional<DatabaseReader> database;
  SearchSpace space;
  std::vector<Budget> budgets;  ///< one (TrueLatency makes it), or one for each size, the largest first
  TokenPools pools;
  TokenBlocks blocks;  ///< of the pool, for the strategy racing
  RunArchive archive;  ///< what archive.jsonl begins with, for that strategy
  std::vector<TokenSet> eval_sets;
  ChoiceQuestions choices;  ///< none where none are asked
  DType precision = DType::f32;
  std::string start_name;  ///< "sensitivity", "uniform", "random" or the file that was given
  std::string identity;
  TimingChoice whole;        ///< models, for a target of latency
  std::string timed;         ///< latency.csv: the table with all that was timed; empty where nothing was
  std::int64_t longest = 1;  ///< tokens of the longest sequence
};

/// The islands where they begin, as generation 0; with several sizes, island i has that of place i modulo
/// their number.
Population first_population(const SearchSetup& setup, const Strategy& strategy);

/// The tokens on which starts are compared: those that racing has held back, or of the whole pool.
TokenDraw comparison_draw(const SearchSetup& setup);

/// Collective. Checks the options, opens the files and reads the texts.
SearchSetup make_setup(const Communicator& comm, const SearchOptions& asked, const ops::Context& context);

}  // namespace galapagos
