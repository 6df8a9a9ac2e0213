#pragma once

#include <cstdint>
#include <optional>

#include <galapagos/search/footprint.hpp>
#include <galapagos/search/search.hpp>

namespace galapagos {

/// The space of a database that is not there yet: heads go so that KV heads stay as long as possible, hence
/// no candidate of a real one is larger.
SearchSpace expected_space(const DatabaseHeader& header);

/// What `galapagos search` is going to need, from sizes alone.
struct SearchForecast {
  int ranks_of_island = 1;  ///< at least
  std::int64_t islands_of_rank = 1;
  SearchFootprint footprint;
  LevelHome home = LevelHome::device;
  bool fits = true;               ///< whether a rank and a node have room for it
  std::uint64_t in_use = 0;       ///< bytes of a candidate's built modules
  std::uint64_t modules = 0;      ///< bytes of the built modules that a rank keeps
  std::uint64_t rank_memory = 0;  ///< a rank's own
  std::uint64_t node_shared = 0;  ///< the memory that the ranks of a node share: answers, and levels at home
  std::uint64_t answers = 0;      ///< the part of it for the dense model's answers
  std::uint64_t checkpoint = 0;   ///< bytes of the file
  double asking = 0;              ///< operations of --choices, of all candidates that meet, by all ranks
  double asking_rank = 0;
  std::uint64_t archive = 0;          ///< bytes of the file of all that races measure
  std::int64_t parameters = 0;        ///< of the uniform assignment
  std::int64_t dense_parameters = 0;  ///< of the whole model
  double answering = 0;               ///< operations, by all ranks
  double answering_rank = 0;
  double learning = 0;  ///< operations of --start gradient, by all ranks
  double learning_rank = 0;
  double generation = 0;       ///< operations of all islands in one generation
  double training = 0;         ///< the part of it for fine-tuning candidates
  double generation_rank = 0;  ///< of the rank that has most of them
  double evaluations = 0;      ///< candidates times stages, of all islands in one generation
  double computed = 1;         ///< share of the candidates' layers that the parent's do not give already
  double switched_rank = 0;    ///< bytes of modules that a rank builds in a generation where nothing is kept
  double streamed_rank = 0;    ///< bytes of weights that pass through a rank in a generation
  double comparison = 0;       ///< operations of one comparison of the islands
  double comparison_rank = 0;
  std::int64_t comparisons = 1;
  double answering_moved = 0;  ///< bytes that a rank sends to the other shards of its replica, and receives
  double learning_moved = 0;
  double generation_moved = 0;
  double comparison_moved = 0;
  std::uint64_t exchanged = 0;  ///< bytes that a rank receives in a generation, migrants included
  std::uint64_t read = 0;       ///< bytes from files, by all nodes
};

/// What the forecast of a search depends on beside its options.
struct SearchSizes {
  DType precision = DType::f32;
  DType stored = DType::f32;  ///< of the database's levels
  std::int64_t sequence_length = 1;
  std::int64_t pool_tokens = 0;
  int ranks = 1;
  int ranks_per_node = 1;
  Device device = Device::cpu;
  std::uint64_t limit = 0;            ///< bytes a rank may use where its tensors lie, 0 for any number
  std::optional<std::uint64_t> host;  ///< where that is a GPU: bytes the ranks of a node may use of its own
};

/// The work of a generation is counted on offspring of the uniform assignment, drawn as the search draws
/// them.
SearchForecast forecast_search(const SearchSpace& space, const HfConfig& config, const SearchOptions& options,
                               const SearchSizes& sizes);

}  // namespace galapagos
