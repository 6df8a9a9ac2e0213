#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/search/token_blocks.hpp>

namespace galapagos {

/// What one assignment loses beyond another, nats per token, on the blocks that both were measured on.
struct LossDifference {
  std::int64_t blocks = 0;
  double mean = 0;
  double variance = 0;  ///< of the mean, from how the difference varies between segments
};

/// What was measured: sums of losses by assignment, block and segment. Nothing of it is forgotten.
class Archive {
 public:
  /// `blocks` must outlive this.
  explicit Archive(const std::vector<TokenDraw>& blocks) : blocks_(blocks) {}

  /// The sums of a block's segments, as segment_sums() gives them. What is there already stays.
  void add(const Assignment& assignment, std::int64_t block, const std::vector<double>& sums);
  bool has(const Assignment& assignment, std::int64_t block) const;
  bool has(const Assignment& assignment) const { return measured_.contains(assignment); }
  /// Blocks that an assignment was measured on.
  std::int64_t blocks_of(const Assignment& assignment) const;
  /// Its loss per token on those, or on one of them; NaN where there is none.
  double mean(const Assignment& assignment) const;
  double mean(const Assignment& assignment, std::int64_t block) const;
  LossDifference difference(const Assignment& one, const Assignment& other) const;

 private:
  using OfBlocks = std::map<std::int64_t, std::vector<double>>;
  struct HashOf {
    std::size_t operator()(const Assignment& assignment) const {
      const auto* bytes = reinterpret_cast<const char*>(assignment.data());
      return std::hash<std::string_view>()({bytes, assignment.size() * sizeof assignment[0]});
    }
  };

  const std::vector<TokenDraw>& blocks_;
  std::unordered_map<Assignment, OfBlocks, HashOf> measured_;
};

}  // namespace galapagos
