#include <limits>
#include <numeric>

#include <galapagos/search/archive.hpp>

namespace galapagos {
namespace {

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

constexpr double none = std::numeric_limits<double>::quiet_NaN();

}  // namespace

void Archive::add(const Assignment& assignment, std::int64_t block, const std::vector<double>& sums) {
  measured_[assignment].emplace(block, sums);
}

bool Archive::has(const Assignment& assignment, std::int64_t block) const {
  const auto found = measured_.find(assignment);
  return found != measured_.end() && found->second.contains(block);
}

std::int64_t Archive::blocks_of(const Assignment& assignment) const {
  const auto found = measured_.find(assignment);
  return found == measured_.end() ? 0 : static_cast<std::int64_t>(found->second.size());
}

double Archive::mean(const Assignment& assignment) const {
  const auto found = measured_.find(assignment);
  if (found == measured_.end()) return none;
  double sum = 0, tokens = 0;
  for (const auto& [block, sums] : found->second) {
    sum += sum_of(sums);
    tokens += static_cast<double>(blocks_[static_cast<std::size_t>(block)].predicted());
  }
  return sum / tokens;
}

double Archive::mean(const Assignment& assignment, std::int64_t block) const {
  if (!has(assignment, block)) return none;
  return sum_of(measured_.at(assignment).at(block)) /
         static_cast<double>(blocks_[static_cast<std::size_t>(block)].predicted());
}

LossDifference Archive::difference(const Assignment& one, const Assignment& other) const {
  LossDifference found;
  const auto first = measured_.find(one), second = measured_.find(other);
  if (first == measured_.end() || second == measured_.end()) return found;
  double sum = 0, tokens = 0;
  std::vector<std::pair<double, double>> segments;  // difference and tokens
  for (const auto& [block, sums] : first->second) {
    const auto same = second->second.find(block);
    if (same == second->second.end()) continue;
    ++found.blocks;
    const TokenDraw& draw = blocks_[static_cast<std::size_t>(block)];
    for (std::size_t s = 0; s < sums.size(); ++s) {
      segments.emplace_back(sums[s] - same->second[s], static_cast<double>(tokens_of_segment(draw, s)));
      sum += segments.back().first;
      tokens += segments.back().second;
    }
  }
  if (found.blocks == 0) return found;
  found.mean = sum / tokens;
  // Of a ratio of sums; a segment's residual is what its tokens lose beyond the mean.
  double squares = 0;
  for (const auto& [difference, count] : segments) {
    const double residual = difference - found.mean * count;
    squares += residual * residual;
  }
  const auto count = static_cast<double>(segments.size());
  found.variance =
      count > 1 ? squares / (tokens * tokens) * count / (count - 1) : std::numeric_limits<double>::infinity();
  return found;
}

}  // namespace galapagos
