#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include <galapagos/model/replicas.hpp>
#include <galapagos/model/sampling.hpp>

// What is asked of a model that writes, and what it answers.
namespace galapagos {

enum class StopReason : std::uint8_t {
  end,     ///< the model has ended its text
  word,    ///< what watches it has
  length,  ///< as many tokens as were asked for, or as the model takes
};

/// What a model has written behind a prompt, without the token that ends a text.
struct GeneratedText {
  std::vector<std::int32_t> ids;
  StopReason reason = StopReason::length;
};

struct GenerationOptions {
  Sampling sampling;
  std::int64_t new_tokens = 256;     ///< of each text at most
  std::vector<std::int64_t> limits;  ///< the same of each prompt, where they differ
  std::int64_t batch = 16;           ///< texts of a replica at a time
  std::int64_t batch_tokens = 4096;  ///< tokens of prompts at a time
  std::int64_t longest = 0;          ///< tokens of a prompt and what comes behind it that the model takes
  std::vector<std::int32_t> end_ids;
  std::uint64_t memory_limit = 0;  ///< bytes a rank may use; 0: its share of what the node has free
  MakeCollectives make_collectives = make_mpi_collectives;
  std::vector<char> written;  ///< of each prompt, 1 where its text is there already; empty: of none
  /// Asked on every rank between any two tokens: whether all are to end before everything is written.
  std::function<bool()> stops;
  /// Given each text that has ended, on one rank of its replica; all ranks agree on what it throws.
  std::function<void(std::size_t prompt, const GeneratedText& text)> keep;

  std::int64_t limit(std::size_t prompt) const { return limits.empty() ? new_tokens : limits[prompt]; }
};

/// How many tokens all replicas have read and written, and in how long the slowest has.
struct GenerationSpeed {
  std::int64_t prompt_tokens = 0, new_tokens = 0;
  double prompt_seconds = 0, new_seconds = 0;
};

/// Looks at every token that is written behind a prompt, in order, as all shards of a replica do; says
/// whether the text ends with it.
using TextWatch = std::function<bool(std::size_t prompt, std::int32_t id)>;

}  // namespace galapagos
