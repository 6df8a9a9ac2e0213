#include "latency_columns.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/search/latency_table.hpp>

namespace galapagos {
namespace {

std::string quoted(const std::string& text) {
  return text.find(',') == std::string::npos ? text : '"' + text + '"';
}

std::int64_t nanoseconds(double seconds) {
  return std::llround(seconds * 1e9);
}

/// The row of the same kind, heads and columns with the nearest number of KV heads.
const LatencyRow* nearest(const LatencyTable& table, const PartShape& shape, LatencyPhase phase) {
  const LatencyRow* best = nullptr;
  for (const LatencyRow& row : table.rows) {
    PartShape like = row.shape;
    like.kv_heads = shape.kv_heads;
    if (row.phase != phase || like != shape) continue;
    if (best == nullptr ||
        std::abs(row.shape.kv_heads - shape.kv_heads) < std::abs(best->shape.kv_heads - shape.kv_heads))
      best = &row;
  }
  return best;
}

void check_model(const SearchSpace& space, const LatencyTable& table, LatencyPhase phase,
                 const std::filesystem::path& path) {
  const auto row = std::find_if(table.rows.begin(), table.rows.end(),
                                [&](const LatencyRow& one) { return one.phase == phase; });
  if (row == table.rows.end())
    throw InputError(fmt::format("no times of {}", name_of(phase)), path.string(),
                     "give another --latency-phase, or measure them with 'galapagos profile'");
  const auto compare = [&](const char* what, std::int64_t there, std::int64_t here) {
    if (there == here) return;
    throw InputError(fmt::format("the table is of another model: its {} is {}, not {}", what, there, here),
                     path.string(), "measure this model with 'galapagos profile'");
  };
  compare("hidden size", row->conditions.hidden_size, space.hidden_size);
  compare("head dimension", row->conditions.head_dim, space.head_dim);
  const auto fixed = std::find_if(table.rows.begin(), table.rows.end(), [&](const LatencyRow& one) {
    return one.phase == phase && one.shape.kind == PartKind::fixed;
  });
  if (fixed == table.rows.end())
    throw InputError(fmt::format("no row for embedding and head (fixed, {})", name_of(phase)), path.string(),
                     "add one: of kind fixed, its columns the vocabulary");
  compare("vocabulary", fixed->shape.columns, space.vocab_size);
}

}  // namespace

std::string latency_text(std::int64_t nanoseconds) {
  const auto time = static_cast<double>(nanoseconds);
  if (std::abs(time) < 1e6) return fmt::format("{:.4g} us", time / 1e3);
  return std::abs(time) < 1e9 ? fmt::format("{:.4g} ms", time / 1e6) : fmt::format("{:.4g} s", time / 1e9);
}

std::string name_of(LatencyPhase phase) {
  return phase == LatencyPhase::prefill ? "prefill" : "decode";
}

std::string name_of(PartKind kind) {
  if (kind == PartKind::fixed) return "fixed";
  return name_of(kind == PartKind::ffn ? ModuleKind::ffn : ModuleKind::attention);
}

std::string name_of(const PartShape& shape) {
  if (shape.kind == PartKind::attention)
    return fmt::format("{} of {} heads on {} KV heads", name_of(shape.kind), shape.heads, shape.kv_heads);
  return fmt::format("{} of {} {}", name_of(shape.kind), shape.columns,
                     shape.kind == PartKind::ffn ? "columns" : "ids");
}

PartShape part_shape(const SearchSpace& space, std::size_t module, std::size_t level) {
  const ModuleChoices& choices = space.modules[module];
  const std::int64_t kept = choices.kept.count(level);
  if (choices.id.kind == ModuleKind::ffn) return {PartKind::ffn, 0, 0, kept};
  return {PartKind::attention, kept / space.head_dim, choices.kv_heads[level], 0};
}

PartShape fixed_shape(const SearchSpace& space) {
  return {PartKind::fixed, 0, 0, space.vocab_size};
}

WholeShape whole_shape(const SearchSpace& space, const Assignment& assignment) {
  WholeShape shape;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const PartShape part = part_shape(space, i, static_cast<std::size_t>(assignment[i]));
    shape.heads += part.heads;
    shape.kv_heads += part.kv_heads;
    shape.columns += part.columns;
  }
  return shape;
}

std::string name_of(const WholeShape& shape) {
  return fmt::format("{} of {} heads on {} KV heads, {} columns", whole_kind, shape.heads, shape.kv_heads,
                     shape.columns);
}

std::string LatencyTable::text() const {
  const std::string none = wholes.empty() ? "" : ",";
  std::string text =
      fmt::format("{}{}{}\n", fmt::join(latency_columns, ","), none, wholes.empty() ? "" : parts_column);
  const auto add = [&](const std::string& kind, const auto& row, int digits, const std::string& parts) {
    const LatencyConditions& one = row.conditions;
    text +=
        fmt::format("{},{},{},{},{},{:.{}g},{},{},{},{},{},{}{}\n", kind, row.shape.heads, row.shape.kv_heads,
                    row.shape.columns, name_of(row.phase), row.seconds, digits, one.hidden_size, one.head_dim,
                    quoted(one.precision), quoted(one.device), one.batch, one.length, parts);
  };
  for (const LatencyRow& row : rows) add(name_of(row.shape.kind), row, 9, none);
  for (const WholeRow& row : wholes)  // to the nanosecond: by it a run finds them again
    add(whole_kind, row, 15, fmt::format(",{:.15g}", row.parts));
  return text;
}

std::string LatencyTable::fingerprint(LatencyPhase phase) const {
  std::map<PartShape, double> sorted;
  for (const LatencyRow& row : rows)
    if (row.phase == phase) sorted[row.shape] = row.seconds;
  Hash64 hash;
  for (const auto& [shape, time] : sorted)
    hash.add(fmt::format("{} {}\n", name_of(shape), nanoseconds(time)));
  for (const WholeRow& row : wholes)
    if (row.phase == phase)
      hash.add(
          fmt::format("{} {} {}\n", name_of(row.shape), nanoseconds(row.parts), nanoseconds(row.seconds)));
  return hex64(hash.value());
}

const LatencyConditions* LatencyTable::conditions(LatencyPhase phase) const {
  for (const LatencyRow& row : rows)
    if (row.phase == phase) return &row.conditions;
  for (const WholeRow& row : wholes)
    if (row.phase == phase) return &row.conditions;
  return nullptr;
}

const LatencyRow* LatencyTable::find(const PartShape& shape, LatencyPhase phase) const {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const LatencyRow& row) {
    return row.phase == phase && row.shape == shape;
  });
  return found == rows.end() ? nullptr : &*found;
}

std::int64_t LatencyCosts::sum(const Assignment& assignment) const {
  std::int64_t sum = fixed;
  for (std::size_t i = 0; i < assignment.size(); ++i)
    sum += modules[i][static_cast<std::size_t>(assignment[i])];
  return sum;
}

LatencyCosts latency_costs(const SearchSpace& space, const LatencyTable& table, LatencyPhase phase,
                           const std::filesystem::path& path) {
  check_model(space, table, phase, path);
  std::map<PartShape, std::int64_t> known;
  for (const LatencyRow& row : table.rows)
    if (row.phase == phase) known[row.shape] = nanoseconds(row.seconds);
  std::set<PartShape> missing;
  const auto cost_of = [&](const PartShape& shape) -> std::int64_t {
    if (const auto found = known.find(shape); found != known.end()) return found->second;
    if (!shape.present()) return 0;
    if (space.assumed) {
      if (const LatencyRow* row = nearest(table, shape, phase)) return nanoseconds(row->seconds);
    }
    missing.insert(shape);
    return 0;
  };
  LatencyCosts costs;
  costs.fixed = cost_of(fixed_shape(space));
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    std::vector<std::int64_t>& of_module = costs.modules.emplace_back();
    for (std::size_t level = 0; level < space.modules[i].parameters.size(); ++level)
      of_module.push_back(cost_of(part_shape(space, i, level)));
  }
  if (!missing.empty()) {
    const std::string more = missing.size() > 1 ? fmt::format(", nor for {} more", missing.size() - 1) : "";
    throw InputError(fmt::format("no row for {} ({}){}", name_of(*missing.begin()), name_of(phase), more),
                     path.string(),
                     "measure the database's shapes with 'galapagos profile --database', or add the rows");
  }
  return costs;
}

}  // namespace galapagos
