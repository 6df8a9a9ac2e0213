#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>

#include <galapagos/comm/bill.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {
namespace {

Json as_json(const Meter::Reading& reading) {
  return {{"seconds", reading.seconds}, {"gpu", reading.gpu}, {"joules", reading.joules}};
}

std::string counted(double hours, const char* of) {
  return fmt::format("{:.3g} {}-hours", hours, of);
}

std::string counted(int number, const char* of) {
  return fmt::format("{} {}{}", number, of, number == 1 ? "" : "s");
}

}  // namespace

std::string human_energy(double joules) {
  if (joules < 1000) return fmt::format("{:.0f} J", joules);
  if (joules < 1e6) return fmt::format("{:.3g} kJ", joules / 1e3);
  return fmt::format("{:.3g} MJ ({:.3g} kWh)", joules / 1e6, joules / 3.6e6);
}

Json Bill::json() const {
  Json bill = {{"seconds", seconds}, {"nodes", nodes}, {"ranks", ranks}, {"node_hours", node_hours()}};
  if (gpus > 0) {
    bill["gpus"] = gpus;
    bill["gpu_hours"] = gpu_hours();
  }
  if (!joules.empty()) bill["joules"] = joules;
  return bill;
}

std::string Bill::text() const {
  std::string text = counted(node_hours(), "node");
  if (gpus > 0) text += " and " + counted(gpu_hours(), "GPU");
  text +=
      fmt::format(": {} on {}, {}", human_duration(seconds), counted(nodes, "node"), counted(ranks, "rank"));
  if (gpus > 0) text += ", " + counted(gpus, "GPU");
  if (joules.empty()) return text + "; this machine does not tell its energy";
  std::vector<std::string> parts;
  for (const auto& [of, energy] : joules)
    parts.push_back(fmt::format("{} of {}", human_energy(energy), of == "node" ? "whole nodes" : of));
  return text + fmt::format("; energy: {}", fmt::join(parts, ", "));
}

Bill bill_of(const Communicator& comm, const Meter::Reading& mine) {
  const Communicator node = comm.split_node();
  Bill bill;
  bill.ranks = comm.size();
  bill.nodes = static_cast<int>(comm.sum(static_cast<std::int64_t>(node.is_root() ? 1 : 0)));
  const std::string text = as_json(mine).dump();
  std::vector<std::uint64_t> sizes;
  std::vector<char> all = comm.gather(std::span<const char>(text), &sizes);
  comm.broadcast(all);
  std::map<std::string, double> of_gpus;  // ranks that share one have counted the same
  auto at = all.begin();
  for (const std::uint64_t size : sizes) {
    const auto end = at + static_cast<std::ptrdiff_t>(size);
    const Json reading = Json::parse(at, end);
    at = end;
    bill.seconds = std::max(bill.seconds, reading["seconds"].get<double>());
    const std::string gpu = reading["gpu"];
    if (!gpu.empty()) of_gpus.try_emplace(gpu, -1);
    for (const auto& [of, joules] : reading["joules"].items()) {
      if (of == "gpus") {
        of_gpus[gpu] = std::max(of_gpus[gpu], joules.get<double>());
      } else {
        bill.joules[of] += joules.get<double>();
      }
    }
  }
  bill.gpus = static_cast<int>(of_gpus.size());
  for (const auto& [gpu, joules] : of_gpus)
    if (joules >= 0) bill.joules["gpus"] += joules;
  return bill;
}

}  // namespace galapagos
