#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/io/token_source.hpp>

namespace galapagos {

/// Where a run is in its data.
struct DataPosition {
  std::uint64_t sequences = 0;  ///< taken so far
  std::int64_t tokens = 0;      ///< in them
};

/// The sequences of a data set in random order, all of them before any comes again, each time round in a new
/// order; a function of the seed and the position alone. Sequences that predict nothing that counts, as those
/// of one token, are passed over.
class Sampler {
 public:
  /// `data` must outlive this. InputError where no sequence predicts anything.
  Sampler(const TokenSet& data, std::uint64_t seed);

  /// Tokens of one time round.
  std::int64_t tokens() const { return tokens_; }

  /// Sequences for one update: the next ones until they have `tokens` tokens or more.
  std::vector<std::uint32_t> take(DataPosition& position, std::int64_t tokens);

  /// Updates of a run from the beginning that ends with the update that reaches `budget`.
  std::int64_t count_updates(std::int64_t tokens, std::int64_t budget);

 private:
  void shuffle(std::uint64_t round);

  const TokenSet& data_;
  std::uint64_t seed_;
  std::vector<std::uint32_t> usable_;
  std::vector<std::uint32_t> order_;
  std::uint64_t round_ = 0;
  std::int64_t tokens_ = 0;
};

}  // namespace galapagos
