#include "tensors.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>

#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {
namespace {

/// What a tensor of the checkpoint belongs to. Without a spec it is one that no table names, such as a buffer
/// that some checkpoints store.
struct Place {
  ModuleId module;
  const TensorSpec* spec = nullptr;
};

/// Whether both are inside the same of a layer's submodules ("mlp").
bool beside(std::string_view a, std::string_view b) {
  return a.substr(0, a.find('.')) == b.substr(0, b.find('.'));
}

/// Of "mlp.experts.7.up_proj.weight" in such a layer; nothing where it is of no expert.
std::optional<Place> place_of_expert(std::int64_t layer, std::string_view part) {
  constexpr std::string_view prefix = "mlp.experts.";
  if (!part.starts_with(prefix)) return std::nullopt;
  std::int64_t expert = 0;
  const char *begin = part.data() + prefix.size(), *end = part.data() + part.size();
  const auto [stopped, error] = std::from_chars(begin, end, expert);
  if (error != std::errc() || stopped == end || *stopped != '.') return std::nullopt;
  Place place{{layer, ModuleKind::ffn, expert}};
  for (const auto& tensor : layer_tensors::expert)
    if (std::string_view(stopped + 1, end) == tensor.spec.name) place.spec = &tensor.spec;
  return place;
}

/// Of "model.layers.3.mlp.up_proj.weight"; nothing where it is of no layer's attention or feed-forward part.
std::optional<Place> place_of(const HfConfig& config, const std::string& name) {
  constexpr std::string_view prefix = "model.layers.";
  if (!name.starts_with(prefix)) return std::nullopt;
  std::int64_t layer = 0;
  const char *begin = name.data() + prefix.size(), *end = name.data() + name.size();
  const auto [stopped, error] = std::from_chars(begin, end, layer);
  if (error != std::errc() || stopped == end || *stopped != '.' || layer < 0 || layer >= config.layers)
    return std::nullopt;
  const std::string_view part(stopped + 1, end);
  const LayerShape& shape = config.shape(layer);
  std::optional<Place> place;
  if (shape.mixture()) place = place_of_expert(layer, part);
  if (place) return place;
  const auto look = [&](ModuleKind kind, const auto& table) {
    for (const auto& tensor : table) {
      if (!tensor.spec.present(config, shape) || !beside(part, tensor.spec.name)) continue;
      if (!place) place = {{layer, kind}};
      if (part == tensor.spec.name) place->spec = &tensor.spec;
    }
  };
  look(ModuleKind::attention, layer_tensors::attention);
  look(ModuleKind::ffn, layer_tensors::feed_forward);
  return place;
}

/// The layer that a tensor is written with: -1 before all of them.
std::int64_t layer_of(const std::string& name, const std::optional<Place>& place, std::int64_t layers) {
  if (place) return place->module.layer;
  return name == layer_tensors::embedding.name ? -1 : layers;
}

ExportedTensor copied(const TensorEntry& entry) {
  ExportedTensor tensor{entry.name, entry.dtype, entry.shape, entry.data.size(), {}};
  tensor.fill = [data = entry.data](std::span<std::byte> out) {
    std::copy(data.begin(), data.end(), out.begin());
  };
  return tensor;
}

ExportedTensor zeros(const TensorEntry& entry) {
  ExportedTensor tensor{entry.name, entry.dtype, entry.shape, entry.data.size(), {}};
  tensor.fill = [](std::span<std::byte> out) { std::ranges::fill(out, std::byte{0}); };
  return tensor;
}

/// Some rows of the parent's tensor.
ExportedTensor rows_of(const TensorEntry& entry, std::vector<std::int64_t> rows) {
  ExportedTensor tensor{entry.name, entry.dtype, entry.shape, 0, {}};
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
ExportedTensor level_tensor(const TensorEntry& entry, DType dtype, const LevelSource& levels,
                            const ModuleId& module, std::int64_t level, std::int64_t width,
                            std::vector<std::int64_t> places) {
  const std::int64_t hidden = entry.shape[0];
  ExportedTensor tensor{entry.name, entry.dtype, {hidden, width}, 0, {}};
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

bool of_mixture(const HfConfig& config, const ModuleId& module) {
  return module.kind == ModuleKind::ffn && config.shape(module.layer).mixture();
}

/// What becomes of the tensors of mixtures: experts that are left get new numbers, and the router has their
/// rows alone.
class Mixtures {
 public:
  Mixtures(const Checkpoint& checkpoint, const HfConfig& config, const LevelSource& levels,
           const SearchSpace& space, const Assignment& assignment, const ExportFormat& format)
      : checkpoint_(checkpoint), levels_(levels), space_(space), assignment_(assignment), format_(format) {
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      std::vector<std::int64_t>& left = left_.emplace_back();
      for (std::int64_t expert = 0; expert < std::ssize(config.shape(layer).experts); ++expert)
        left.push_back(expert);
    }
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      const ModuleChoices& choices = space.modules[i];
      if (choices.id.expert == no_expert) continue;
      places_[choices.id] = i;
      if (choices.gone[static_cast<std::size_t>(assignment[i])])
        std::erase(left_[static_cast<std::size_t>(choices.id.layer)], choices.id.expert);
    }
  }

  /// Nothing where nothing is left of it.
  std::optional<ExportedTensor> planned(const TensorEntry& entry, const Place& place) const {
    const std::vector<std::int64_t>& left = left_[static_cast<std::size_t>(place.module.layer)];
    if (left.empty()) return std::nullopt;
    if (place.module.expert != no_expert) return of_expert(entry, place, left);
    const bool router = place.spec != nullptr && place.spec->rows == Axis::experts;
    return router && std::ssize(left) < entry.shape[0] ? rows_of(entry, left) : copied(entry);
  }

 private:
  std::optional<ExportedTensor> of_expert(const TensorEntry& entry, const Place& place,
                                          const std::vector<std::int64_t>& left) const {
    const auto number = std::ranges::find(left, place.module.expert);
    if (number == left.end()) return std::nullopt;
    ExportedTensor tensor = at_level(entry, place);
    if (place.spec != nullptr)
      tensor.name = layer_tensor_name(place.module.layer, number - left.begin(), place.spec->name);
    return tensor;
  }

  ExportedTensor at_level(const TensorEntry& entry, const Place& place) const {
    const auto module = places_.find(place.module);
    if (module == places_.end() || assignment_[module->second] < levels_.first_stored ||
        place.spec == nullptr)
      return copied(entry);
    const std::int64_t level = assignment_[module->second];
    const std::vector<std::int64_t> kept =
        space_.modules[module->second].kept[static_cast<std::size_t>(level)];
    if (place.spec->slicing() == Slicing::columns)
      return level_tensor(entry, checkpoint_.dtype_of(entry.name), levels_, place.module, level,
                          format_.smaller ? std::ssize(kept) : entry.shape[1],
                          format_.smaller ? first_columns(kept.size()) : kept);
    return format_.smaller ? rows_of(entry, kept) : copied(entry);
  }

  const Checkpoint& checkpoint_;
  const LevelSource& levels_;
  const SearchSpace& space_;
  const Assignment& assignment_;
  const ExportFormat& format_;
  std::map<ModuleId, std::size_t> places_;
  std::vector<std::vector<std::int64_t>> left_;  // of each layer, the experts
};

}  // namespace

std::vector<ExportedTensor> plan_tensors(const Checkpoint& checkpoint, const HfConfig& config,
                                         const LevelSource& levels, const SearchSpace& space,
                                         const Assignment& assignment, const ExportFormat& format) {
  std::map<ModuleId, std::size_t> places;
  for (std::size_t i = 0; i < space.modules.size(); ++i) places[space.modules[i].id] = i;
  const Mixtures mixtures(checkpoint, config, levels, space, assignment, format);
  std::vector<std::pair<std::int64_t, ExportedTensor>> planned;  // with the layer, or one before or after all
  for (const std::string& name : checkpoint.names()) {
    const TensorEntry& entry = checkpoint.entry(name);
    const std::optional<Place> place = place_of(config, name);
    const auto plan = [&](ExportedTensor tensor) {
      planned.emplace_back(layer_of(name, place, config.layers), std::move(tensor));
    };
    if (place && of_mixture(config, place->module)) {
      if (auto tensor = mixtures.planned(entry, *place)) plan(std::move(*tensor));
      continue;
    }
    const auto module = place ? places.find(place->module) : places.end();
    if (module == places.end() || assignment[module->second] < levels.first_stored) {
      plan(copied(entry));
      continue;
    }
    const std::int64_t level = assignment[module->second];
    const ModuleChoices& choices = space.modules[module->second];
    const std::vector<std::int64_t> kept = choices.kept[static_cast<std::size_t>(level)];
    if (format.smaller && kept.empty()) continue;  // nothing is left of it, its norm included
    const Slicing pruned = place->spec != nullptr ? place->spec->slicing() : Slicing::none;
    if (pruned == Slicing::columns) {
      plan(level_tensor(entry, checkpoint.dtype_of(name), levels, choices.id, level,
                        format.smaller ? std::ssize(kept) : entry.shape[1],
                        format.smaller ? first_columns(kept.size()) : kept));
    } else if (kept.empty() && place->spec != nullptr && place->spec->output_bias()) {
      plan(zeros(entry));  // a part that is gone adds nothing, whatever its bias was
    } else if (!format.smaller || pruned == Slicing::none) {
      plan(copied(entry));
    } else if (place->spec->rows == Axis::kv) {
      const KeptHeads heads = kept_heads(config.shape(choices.id.layer).kv_of_head, config.head_dim, kept);
      plan(rows_of(entry, rows_of_blocks(heads.kv_heads, config.head_dim)));
    } else {
      plan(rows_of(entry, kept));
    }
  }
  std::stable_sort(planned.begin(), planned.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<ExportedTensor> tensors;
  for (auto& [layer, tensor] : planned) tensors.push_back(std::move(tensor));
  return tensors;
}

}  // namespace galapagos
