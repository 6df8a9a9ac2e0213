#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/comm/gathered_part.hpp>

namespace galapagos {

/// Parts of the ranks, [bounds[r], bounds[r + 1]), cut into rounds with a piece of every part: all ranks send
/// and receive in each, and what MPI allocates beside it (as much as goes through a reduction) stays small.
class Rounds {
 public:
  /// `room`: for the pieces of all ranks in a round.
  Rounds(std::span<const std::uint64_t> bounds, std::uint64_t room) : bounds_(bounds) {
    for (std::size_t r = 0; r < ranks(); ++r) longest_ = std::max(longest_, bounds[r + 1] - bounds[r]);
    each_ = std::min(longest_, std::max<std::uint64_t>(1, room / ranks()));
    counts.resize(ranks());
    starts.resize(ranks());
  }

  /// Goes to the next round; false after the last.
  bool next() {
    at_ = begun_ ? at_ + each_ : 0;
    begun_ = true;
    int start = 0;
    for (std::size_t r = 0; r < ranks(); ++r) {
      const std::uint64_t part = bounds_[r + 1] - bounds_[r];
      counts[r] = static_cast<int>(std::min(each_, part - std::min(part, at_)));
      starts[r] = start;
      start += counts[r];
    }
    return at_ < longest_;
  }

  std::size_t ranks() const { return bounds_.size() - 1; }
  /// At most, of all ranks together in a round.
  std::uint64_t most() const { return each_ * ranks(); }
  /// Where the rank's piece begins in its part, and in all of them.
  std::uint64_t in_part(std::size_t r) const { return std::min(at_, bounds_[r + 1] - bounds_[r]); }
  std::uint64_t in_all(std::size_t r) const { return bounds_[r] + in_part(r); }

  std::vector<int> counts, starts;  ///< of the pieces, one after the other

 private:
  std::span<const std::uint64_t> bounds_;
  std::uint64_t longest_ = 0, each_ = 0, at_ = 0;
  bool begun_ = false;
};

/// The rank that owns all parts, or -1.
inline int only_owner(std::span<const GatheredPart> parts) {
  const int owner = parts.empty() ? -1 : parts.front().owner;
  const bool one =
      std::all_of(parts.begin(), parts.end(), [&](const auto& part) { return part.owner == owner; });
  return one ? owner : -1;
}

/// Rounds of the bytes of scattered parts: what an owner has of them counts as one piece of memory.
class PartRounds {
 public:
  PartRounds(std::span<const GatheredPart> parts, int ranks, std::uint64_t room)
      : parts_(by_owner(parts, ranks)),
        bounds_(bounds_of(parts_)),
        rounds_(bounds_, only_owner(parts) < 0 ? room : room * static_cast<std::uint64_t>(ranks)) {}
  PartRounds(const PartRounds&) = delete;
  PartRounds& operator=(const PartRounds&) = delete;

  bool next() { return rounds_.next(); }
  const Rounds& rounds() const { return rounds_; }

  /// Calls visit(data, at, bytes) for each run of memory of an owner's piece; `at` is its place among the
  /// pieces of the round.
  template <typename Visit>
  void visit(int owner, const Visit& visit) const {
    const auto rank = static_cast<std::size_t>(owner);
    const std::uint64_t begin = rounds_.in_part(rank),
                        end = begin + static_cast<std::uint64_t>(rounds_.counts[rank]);
    std::uint64_t at = 0;
    for (const GatheredPart& part : parts_[rank]) {
      const std::uint64_t from = std::clamp<std::uint64_t>(begin, at, at + part.bytes),
                          to = std::clamp<std::uint64_t>(end, at, at + part.bytes);
      if (to > from)
        visit(part.data + (from - at), static_cast<std::size_t>(rounds_.starts[rank]) + (from - begin),
              static_cast<std::size_t>(to - from));
      at += part.bytes;
    }
  }

 private:
  using PartsOfOwners = std::vector<std::vector<GatheredPart>>;

  static PartsOfOwners by_owner(std::span<const GatheredPart> parts, int ranks) {
    PartsOfOwners sorted(static_cast<std::size_t>(ranks));
    for (const GatheredPart& part : parts) sorted[static_cast<std::size_t>(part.owner)].push_back(part);
    return sorted;
  }
  static std::vector<std::uint64_t> bounds_of(const PartsOfOwners& parts) {
    std::vector<std::uint64_t> bounds = {0};
    for (const std::vector<GatheredPart>& of_rank : parts) {
      bounds.push_back(bounds.back());
      for (const GatheredPart& part : of_rank) bounds.back() += part.bytes;
    }
    return bounds;
  }

  PartsOfOwners parts_;
  std::vector<std::uint64_t> bounds_;
  Rounds rounds_;
};

}  // namespace galapagos
