#pragma once

#include <cstdint>
#include <optional>

#include <galapagos/assignment/level_store.hpp>
#include <galapagos/assignment/space_part.hpp>
#include <galapagos/search/evolution.hpp>
#include <galapagos/search/replica.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

/// What a search takes on a rank, in bytes, wherever the levels live.
struct SearchFootprint {
  std::uint64_t dense = 0;        ///< weights of a replica
  std::uint64_t activations = 0;  ///< of a batch
  std::uint64_t states = 0;       ///< last hidden states of candidates that are compared, at most
  std::uint64_t logits = 0;       ///< of the tokens that are compared at a time
  std::uint64_t training = 0;  ///< a candidate's own weights while it is fine-tuned, and what goes with them
  std::uint64_t cached = 0;    ///< modules kept where not all of them fit
  std::uint64_t built = 0;     ///< all modules at all levels, ready to compute with
  std::uint64_t stored = 0;    ///< all levels as in the database
};

/// What of a search decides its footprint.
struct SearchExtent {
  DType precision = DType::f32;
  DType stored = DType::f32;         ///< of the database's levels
  std::int64_t batch_tokens = 0;     ///< of the largest batch
  std::int64_t longest = 0;          ///< sequence
  std::int64_t most_parameters = 0;  ///< of a candidate
  int replicas = 1;                  ///< of the whole search
  Device device = Device::cpu;
  bool evaluates = false;  ///< the best on other text, a batch at a time
  std::int64_t asked = 0;  ///< candidates that a race compares at its end for the questions

  DType activations() const { return ops::activation_type(device, precision); }
};

/// Of the rank that holds `part` of the whole space.
SearchFootprint search_footprint(const SearchSpace& whole, const SpacePart& part,
                                 const EvolutionOptions& evolution, const Fitness& fitness,
                                 const FineTuning& tuning, const SearchExtent& extent);

/// What the ranks of a node may use, in bytes.
struct NodeRoom {
  std::uint64_t rank = 0;             ///< of each, where its tensors lie
  int ranks = 1;                      ///< on the node
  std::optional<std::uint64_t> host;  ///< all together, of the node's own memory where tensors lie on GPUs
};

/// What a rank has for its replica. The dense model's answers, of which a node holds one copy, take a share
/// of it where they lie in the same memory.
std::uint64_t replica_limit(const NodeRoom& room, std::uint64_t answers);
/// Whether all built modules fit a rank that may use `limit` bytes for its replica.
bool fits_device(const SearchFootprint& footprint, std::uint64_t limit);
/// Whether one copy of the database's levels fits the node beside replicas that keep a model's worth of built
/// modules.
bool fits_host(const SearchFootprint& footprint, std::uint64_t answers, const NodeRoom& room);
/// Bytes of built modules that a replica keeps on a rank that may use `limit` bytes.
std::uint64_t cache_limit(const SearchFootprint& footprint, LevelHome home, std::uint64_t limit);
/// Bytes of the dense model's logits that one keeps on a GPU beside `modules` bytes of built modules: half of
/// what is left.
std::uint64_t kept_logits_limit(const SearchFootprint& footprint, std::uint64_t modules, std::uint64_t limit);

/// Tokens that the islands are compared on at the end: as asked, else more than in the last stage.
std::int64_t compare_tokens(const EvolutionOptions& evolution, std::int64_t pool_tokens);

}  // namespace galapagos
