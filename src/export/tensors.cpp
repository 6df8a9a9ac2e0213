#include "tensors.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <optional>

#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {
namespace {

/// "model.layers.3.mlp.up_proj.weight" in parts.
struct LayerTensor {
  std::int64_t layer = 0;
  std::string part;  ///< "mlp.up_proj.weight"
};

std::optional<LayerTensor> parse_name(const std::string& name) {
  constexpr std::string_view prefix = "model.layers.";
  if (!name.starts_with(prefix)) return std::nullopt;
  LayerTensor found;
  const char *begin = name.data() + prefix.size(), *end = name.data() + name.size();
  const auto [stopped, error] = std::from_chars(begin, end, found.layer);
  if (error != std::errc() || stopped == end || *stopped != '.') return std::nullopt;
  found.part.assign(stopped + 1, end);
  return found;
}

PlannedTensor copied(const TensorEntry& entry) {
  PlannedTensor tensor{entry.name, entry.dtype, entry.shape, entry.data.size(), {}};
  tensor.fill = [data = entry.data](std::span<std::byte> out) {
    std::copy(data.begin(), data.end(), out.begin());
  };
  return tensor;
}

/// Some rows of the parent's tensor.
PlannedTensor rows_of(const TensorEntry& entry, std::vector<std::int64_t> rows) {
  PlannedTensor tensor{entry.name, entry.dtype, entry.shape, 0, {}};
  const std::size_t row_bytes =
      entry.shape[0] == 0 ? 0 : entry.data.size() / static_cast<std::size_t>(entry.shape[0]);
  tensor.shape[0] = static_cast<std::int64_t>(rows.size());
  tensor.bytes = rows.size() * row_bytes;
  tensor.fill = [data = entry.data, rows = std::move(rows), row_bytes](std::span<std::byte> out) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(out.data() + i * row_bytes, data.data() + static_cast<std::size_t>(rows[i]) * row_bytes,
                  row_bytes);
    }
  };
  return tensor;
}

/// The weight of o_proj or down_proj, [hidden, width]: the level's column i at column places[i], zeros
/// elsewhere.
PlannedTensor level_tensor(const TensorEntry& entry, DType dtype, const LevelSource& levels,
                           const ModuleId& module, std::int64_t level, std::int64_t width,
                           std::vector<std::int64_t> places) {
  const std::int64_t hidden = entry.shape[0];
  PlannedTensor tensor{entry.name, entry.dtype, {hidden, width}, 0, {}};
  tensor.bytes = static_cast<std::uint64_t>(hidden * width) * size_of(dtype);
  tensor.fill = [=, &levels, places = std::move(places)](std::span<std::byte> out) {
    std::vector<float> compact(places.size() * static_cast<std::size_t>(hidden));
    if (!places.empty()) {
      convert_to_float(levels.dtype, levels.words(module, level).data(), compact);
    }
    std::vector<float> row(static_cast<std::size_t>(width), 0.0f);
    for (std::int64_t r = 0; r < hidden; ++r) {
      for (std::size_t i = 0; i < places.size(); ++i) {
        row[static_cast<std::size_t>(places[i])] =
            compact[i * static_cast<std::size_t>(hidden) + static_cast<std::size_t>(r)];
      }
      convert_from_float(row, dtype, out.data() + static_cast<std::size_t>(r * width) * size_of(dtype));
    }
  };
  return tensor;
}

std::vector<std::int64_t> first_columns(std::size_t count) {
  std::vector<std::int64_t> columns(count);
  std::iota(columns.begin(), columns.end(), 0);
  return columns;
}

}  // namespace

std::vector<PlannedTensor> plan_tensors(const Checkpoint& checkpoint, const HfConfig& config,
                                        const LevelSource& levels, const SearchSpace& space,
                                        const Assignment& assignment, ExportFormat format) {
  std::map<ModuleId, std::size_t> places;
  for (std::size_t i = 0; i < space.modules.size(); ++i) places[space.modules[i].id] = i;
  std::vector<std::pair<std::int64_t, PlannedTensor>> planned;  // with the layer, or one before or after all
  for (const std::string& name : checkpoint.names()) {
    const TensorEntry& entry = checkpoint.entry(name);
    const auto parsed = parse_name(name);
    const bool attention =
        parsed && (parsed->part.starts_with("self_attn.") || parsed->part.starts_with("input_layernorm."));
    const bool ffn =
        parsed && (parsed->part.starts_with("mlp.") || parsed->part.starts_with("post_attention_layernorm."));
    const std::int64_t at = parsed ? parsed->layer : name.starts_with("model.embed") ? -1 : config.layers;
    const auto module =
        attention || ffn ? places.find({parsed->layer, attention ? ModuleKind::attention : ModuleKind::ffn})
                         : places.end();
    if (module == places.end() || assignment[module->second] < levels.first_stored) {
      planned.emplace_back(at, copied(entry));
      continue;
    }
    const std::int64_t level = assignment[module->second];
    const ModuleChoices& choices = space.modules[module->second];
    const std::vector<std::int64_t>& kept = choices.kept[static_cast<std::size_t>(level)];
    const bool output = parsed->part == "self_attn.o_proj.weight" || parsed->part == "mlp.down_proj.weight";
    if (format == ExportFormat::dense) {
      planned.emplace_back(at, output ? level_tensor(entry, checkpoint.dtype_of(name), levels, choices.id,
                                                     level, entry.shape[1], kept)
                                      : copied(entry));
      continue;
    }
    if (kept.empty()) continue;  // nothing is left of it, its norm included
    const std::string& part = parsed->part;
    if (output) {
      planned.emplace_back(at,
                           level_tensor(entry, checkpoint.dtype_of(name), levels, choices.id, level,
                                        static_cast<std::int64_t>(kept.size()), first_columns(kept.size())));
    } else if (part.starts_with("self_attn.k_proj.") || part.starts_with("self_attn.v_proj.")) {
      const KeptHeads heads = kept_heads(config.shape(parsed->layer).kv_of_head, config.head_dim, kept);
      planned.emplace_back(at, rows_of(entry, rows_of_blocks(heads.kv_heads, config.head_dim)));
    } else if (part.starts_with("self_attn.q_proj.") || part.starts_with("mlp.gate_proj.") ||
               part.starts_with("mlp.up_proj.")) {
      planned.emplace_back(at, rows_of(entry, kept));
    } else {
      planned.emplace_back(at, copied(entry));
    }
  }
  std::stable_sort(planned.begin(), planned.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<PlannedTensor> tensors;
  for (auto& [layer, tensor] : planned) tensors.push_back(std::move(tensor));
  return tensors;
}

}  // namespace galapagos
