#include "info.hpp"

#include <fmt/format.h>

#include <galapagos/search/latency_table.hpp>

namespace galapagos::app {

Description describe_latencies(const std::filesystem::path& path) {
  const LatencyTable table = read_latency_table(path);
  Description description;
  Json& json = description.json;
  json["kind"] = "latencies";
  for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode}) {
    std::string rows;
    Json shapes = Json::array();
    for (const LatencyRow& row : table.rows) {
      if (row.phase != phase) continue;
      const LatencyConditions& one = row.conditions;
      if (rows.empty()) {
        const std::string name = name_of(phase);
        description.text +=
            fmt::format("{:<14} hidden size {}, heads of {}; {} on {}; {} sequences of {} tokens\n", name,
                        one.hidden_size, one.head_dim, one.precision, one.device, one.batch, one.length);
        json[name] = {
            {"hidden_size", one.hidden_size}, {"head_dim", one.head_dim}, {"precision", one.precision},
            {"device", one.device},           {"batch", one.batch},       {"length", one.length}};
      }
      rows += fmt::format("{:>12.6f}   {}\n", row.seconds * 1e3, name_of(row.shape));
      shapes.push_back({{"kind", name_of(row.shape.kind)},
                        {"heads", row.shape.heads},
                        {"kv_heads", row.shape.kv_heads},
                        {"columns", row.shape.columns},
                        {"seconds", row.seconds}});
    }
    if (rows.empty()) continue;
    description.text += fmt::format("{:>12}\n{}", "ms", rows);
    json[name_of(phase)]["shapes"] = std::move(shapes);
    for (const WholeRow& row : table.wholes) {
      if (row.phase != phase) continue;
      const double apart = row.seconds / row.parts - 1;
      description.text += fmt::format("{:>12.6f}   {}: {:+.1f} % beside the sum of its parts, {:.6f}\n",
                                      row.seconds * 1e3, name_of(row.shape), 100 * apart, row.parts * 1e3);
      json[name_of(phase)]["whole"].push_back({{"heads", row.shape.heads},
                                               {"kv_heads", row.shape.kv_heads},
                                               {"columns", row.shape.columns},
                                               {"seconds", row.seconds},
                                               {"parts", row.parts}});
    }
  }
  return description;
}

}  // namespace galapagos::app
