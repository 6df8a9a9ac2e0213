#include <algorithm>
#include <numeric>

#include <galapagos/comm/bill.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/memory_gauge.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {
namespace {

struct Row {
  std::string name;
  std::vector<double> seconds;  ///< of each rank
};

/// This rank's phases as text, so that ranks need not have the same ones.
std::string as_text(std::span<const PhaseTimes::Phase> phases) {
  Json json = Json::object();
  for (const PhaseTimes::Phase& phase : phases) json[phase.name] = phase.seconds;
  return json.dump();
}

}  // namespace

Json spread_over_ranks(const Communicator& comm, std::span<const PhaseTimes::Phase> phases) {
  const std::string mine = as_text(phases);
  std::vector<std::uint64_t> sizes;
  const std::vector<char> all = comm.gather(std::span<const char>(mine), &sizes);
  Json spread = Json::object();
  if (!comm.is_root()) return spread;
  const auto ranks = static_cast<std::size_t>(comm.size());
  std::vector<Row> rows;
  auto at = all.begin();
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const auto end = at + static_cast<std::ptrdiff_t>(sizes[rank]);
    const Json of_rank = Json::parse(at, end);
    at = end;
    for (const auto& item : of_rank.items()) {
      const std::string& name = item.key();
      auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name == name; });
      if (row == rows.end()) row = rows.insert(rows.end(), {name, std::vector<double>(ranks)});
      row->seconds[rank] = item.value().get<double>();
    }
  }
  // What only later ranks have comes before the first one's "other".
  const auto other =
      std::find_if(rows.begin(), rows.end(), [](const Row& row) { return row.name == "other"; });
  if (other != rows.end()) std::rotate(other, other + 1, rows.end());
  double total = 0;
  for (const Row& row : rows) {
    const auto [least, most] = std::minmax_element(row.seconds.begin(), row.seconds.end());
    const double sum = std::accumulate(row.seconds.begin(), row.seconds.end(), 0.0);
    spread[row.name] = {{"min", *least}, {"mean", sum / static_cast<double>(ranks)}, {"max", *most}};
    total += sum / static_cast<double>(ranks);
  }
  for (auto& [name, phase] : spread.items())
    phase["share"] = phase["mean"].get<double>() / std::max(total, 1e-9);
  return spread;
}

namespace {

Json most_memory(const Communicator& comm) {
  const auto most = [&](MemoryGauge& gauge) {
    const auto mine = static_cast<std::int64_t>(gauge.most());
    gauge.restart();  // for the next run of this process
    return comm.max(mine);
  };
  const std::int64_t host = most(host_tensors()), gpu = most(gpu_tensors());
  Json memory = {{"host", host}};
  if (gpu > 0) memory["gpu"] = gpu;
  return memory;
}

}  // namespace

void RunReport::add_to(Json& manifest) const {
  manifest["phases"] = phases;
  manifest["memory"] = memory;
  manifest["bill"] = bill;
}

RunReport report_run(const Communicator& comm, PhaseTimes& times) {
  const Json memory = most_memory(comm);
  const Json bill = bill_of(comm, meter().since_last()).json();
  const RunReport report{spread_over_ranks(comm, times.phases()), memory, bill};
  if (!comm.is_root()) return report;
  log_info("{:<30}{:>10}{:>10}{:>10}{:>8}", "seconds by phase and rank", "min", "mean", "max", "share");
  for (const auto& [name, phase] : report.phases.items()) {
    log_info("  {:<28}{:>10.2f}{:>10.2f}{:>10.2f}{:>6.1f} %", name, phase["min"].get<double>(),
             phase["mean"].get<double>(), phase["max"].get<double>(), 100 * phase["share"].get<double>());
  }
  const auto text = [&](const char* where) { return human_bytes(report.memory[where].get<std::uint64_t>()); };
  log_info("tensors of a rank: at most {} in host memory{}", text("host"),
           report.memory.contains("gpu") ? ", " + text("gpu") + " on its GPU" : "");
  return report;
}

}  // namespace galapagos
