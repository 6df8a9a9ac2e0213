#pragma once

#include "scorer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <galapagos/core/phase_times.hpp>
#include <galapagos/model/evaluation_grid.hpp>

namespace galapagos {

/// The data cut into batches, which are dealt to lanes in turn.
struct Batches {
  std::vector<Batch> all;
  std::vector<std::size_t> first_sequence;  // of each
  std::vector<std::int64_t> unscored;       // of each sequence, tokens that are only context
  std::int64_t most_tokens = 1;

  Batches(const TokenSet& data, const EvaluationOptions& options)
      : all(make_batches(data.tokens, data.offsets, options.batch_tokens)), unscored(options.context) {
    std::size_t sequences = 0;
    for (const Batch& batch : all) {
      most_tokens = std::max(most_tokens, static_cast<std::int64_t>(batch.tokens.size()));
      first_sequence.push_back(sequences);
      sequences += batch.offsets.size() - 1;
    }
    if (unscored.empty()) unscored.assign(sequences, 1);
  }

  std::span<const std::int64_t> unscored_of(std::size_t batch) const {
    return std::span(unscored).subspan(first_sequence[batch], all[batch].offsets.size() - 1);
  }
  /// The batches of a lane.
  std::vector<std::size_t> of_lane(int lane, int lanes) const {
    std::vector<std::size_t> mine;
    for (auto b = static_cast<std::size_t>(lane); b < all.size(); b += static_cast<std::size_t>(lanes))
      mine.push_back(b);
    return mine;
  }
};

// Collective. The scores of all sequences, in order, on every rank.

/// Each replica's shards compute its batches together.
std::vector<SequenceScore> score_on_shards(const Communicator& comm, const ops::Context& context,
                                           const Models& models, const Batches& batches,
                                           const EvaluationOptions& options, std::uint64_t limit,
                                           PhaseTimes* times);

/// Each lane's stages compute its batches one after the other.
std::vector<SequenceScore> score_on_stages(const Communicator& comm, const ops::Context& context,
                                           const Models& models, const Batches& batches, std::uint64_t limit,
                                           PhaseTimes* times);

}  // namespace galapagos
