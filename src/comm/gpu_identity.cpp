#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <vector>

#include <galapagos/comm/gpu_identity.hpp>
#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

bool same_gpu(const GpuOfRank& a, const GpuOfRank& b) {
  return a.uuid == b.uuid || (a.node == b.node && a.bus_id == b.bus_id && a.bus_id[0] != 0);
}

}  // namespace

std::string text_of_uuid(const GpuUuid& uuid) {
  std::string text = "GPU";
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

bool one_rank_per_gpu(std::span<const GpuOfRank> ranks) {
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    for (std::size_t j = i + 1; j < ranks.size(); ++j) {
      if (same_gpu(ranks[i], ranks[j])) return false;
    }
  }
  return true;
}

void check_one_rank_per_gpu(std::span<const GpuOfRank> ranks) {
  constexpr std::size_t named = 4;  // a line is no place for the GPUs of a hundred nodes
  std::vector<std::string> shared;
  std::vector<bool> told(ranks.size(), false);
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    std::vector<std::int32_t> users = {ranks[i].rank};
    for (std::size_t j = i + 1; j < ranks.size() && !told[i]; ++j) {
      if (!same_gpu(ranks[i], ranks[j])) continue;
      users.push_back(ranks[j].rank);
      told[j] = true;
    }
    if (users.size() < 2) continue;
    shared.push_back(fmt::format("ranks {} on {} share {}", fmt::join(users, ", "), ranks[i].host.data(),
                                 text_of_uuid(ranks[i].uuid)));
  }
  if (shared.empty()) return;
  const std::size_t rest = shared.size() - std::min(shared.size(), named);
  if (rest > 0) shared.resize(named);
  std::string text = fmt::format("{}", fmt::join(shared, "; "));
  if (rest > 0) text += fmt::format("; and {} more", rest);
  throw ResourceError("NCCL needs one GPU per rank: " + text, "--collectives nccl",
                      "start one rank per GPU, or use --collectives mpi");
}

}  // namespace galapagos
