#include "command.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/meter.hpp>
#include <galapagos/tensor/gpu.hpp>

namespace galapagos::app {
namespace {

/// Collective over the node: what each of its ranks sees, in order of rank.
std::vector<std::vector<GpuUuid>> gpus_of_node(const Communicator& node, const std::vector<Gpu>& mine) {
  const auto count = static_cast<std::int64_t>(mine.size());
  const std::vector<std::int64_t> counts = node.all_gather(count);
  const auto most = static_cast<std::size_t>(node.max(count));
  std::vector<GpuUuid> padded(most);
  for (std::size_t i = 0; i < mine.size(); ++i) padded[i] = mine[i].uuid;
  const std::vector<GpuUuid> all = node.all_gather(std::span<const GpuUuid>(padded));
  std::vector<std::vector<GpuUuid>> seen;
  for (std::size_t rank = 0; rank < counts.size(); ++rank) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(rank * most);
    seen.emplace_back(first, first + counts[rank]);
  }
  return seen;
}

/// Deals the GPUs in order of rank: each takes the first of those it sees that fewest ranks before it have
/// taken. It does the same whether the launcher shows each rank all GPUs of the node, a part, or one.
std::vector<std::size_t> deal(const std::vector<std::vector<GpuUuid>>& seen) {
  std::vector<GpuUuid> taken;
  std::vector<std::size_t> chosen;
  for (const std::vector<GpuUuid>& gpus : seen) {
    const auto users = [&](const GpuUuid& gpu) { return std::count(taken.begin(), taken.end(), gpu); };
    const auto best = std::min_element(
        gpus.begin(), gpus.end(), [&](const GpuUuid& a, const GpuUuid& b) { return users(a) < users(b); });
    chosen.push_back(static_cast<std::size_t>(best - gpus.begin()));
    taken.push_back(*best);
  }
  return chosen;
}

struct Description {
  std::array<char, 160> text{};
};

}  // namespace

Device choose_device(const Communicator& world, const ComputingOptions& options) {
  const std::string& backend = options.backend;
  const std::vector<Gpu> mine = backend == "cpu" ? std::vector<Gpu>() : visible_gpus();
  const bool visible = world.all(!mine.empty());
  const Device device = agree_on(world, [&] { return ops::device_of_backend(backend, visible); });
  if (device == Device::cpu) return device;

  const Communicator node = world.split_node();
  const std::vector<std::vector<GpuUuid>> seen = gpus_of_node(node, mine);
  const std::vector<std::size_t> chosen = deal(seen);
  const auto rank = static_cast<std::size_t>(node.rank());
  const Gpu& gpu = mine[chosen[rank]];
  agree(world, [&] {
    for (std::size_t other = 0; other < rank && !options.allow_gpu_sharing; ++other) {
      if (seen[other][chosen[other]] != gpu.uuid) continue;
      throw ResourceError(
          fmt::format("ranks {} and {} of a node would share {}", other, rank, text_of_uuid(gpu.uuid)),
          "GPUs", "start one rank per GPU, or give --allow-gpu-sharing");
    }
    use_gpu(static_cast<int>(chosen[rank]));
    meter().watch_gpu(text_of_uuid(gpu.uuid));
  });
  Description description;
  const std::string text = fmt::format("GPU {}, {}, {}", chosen[rank], text_of_uuid(gpu.uuid), gpu.name);
  std::copy_n(text.begin(), std::min(text.size(), description.text.size() - 1), description.text.begin());
  const std::vector<Description> all = world.all_gather(description);
  for (std::size_t i = 0; i < all.size(); ++i) log_info("rank {}: {}", i, all[i].text.data());
  return device;
}

}  // namespace galapagos::app
