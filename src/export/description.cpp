#include "description.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {
namespace {

/// What a layer of the parent was made of, in the numbering of the model that was never pruned.
struct Origins {
  std::vector<std::int64_t> heads, kv_heads, columns;
  std::vector<std::int64_t> experts;                      ///< of a mixture
  std::vector<std::vector<std::int64_t>> expert_columns;  ///< of each
};

std::vector<std::int64_t> counted(std::int64_t count) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

std::vector<Origins> origins_of(const std::filesystem::path& parent, const HfConfig& config) {
  std::vector<Origins> origins;
  const std::filesystem::path path = parent / "pruning.json";
  const bool pruned_before = std::filesystem::exists(path);
  const Json before = pruned_before ? read_json(path) : Json();
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerShape& shape = config.shape(layer);
    Origins origin{counted(shape.heads()),
                   counted(shape.kv_heads),
                   counted(shape.mixture() ? 0 : shape.columns),
                   counted(std::ssize(shape.experts)),
                   {}};
    for (const std::int64_t columns : shape.experts) origin.expert_columns.push_back(counted(columns));
    if (pruned_before && config.pruned()) {
      origin = {};
      try {
        // A dense export has more in it than it keeps.
        const Json& layers = before.at(before.contains("present") ? "present" : "layers");
        const Json& old = layers.at(static_cast<std::size_t>(layer));
        for (const Json& group : old.at("attention")) {
          origin.kv_heads.push_back(group.at("kv_head").get<std::int64_t>());
          for (const Json& head : group.at("heads")) origin.heads.push_back(head.get<std::int64_t>());
        }
        for (const Json& column : old.at("ffn")) origin.columns.push_back(column.get<std::int64_t>());
        for (const Json& expert : old.value("experts", Json::array())) {
          origin.experts.push_back(expert.at("expert").get<std::int64_t>());
          origin.expert_columns.push_back(expert.at("columns").get<std::vector<std::int64_t>>());
        }
      } catch (const Json::exception&) {
        origin.heads.clear();
      }
      const bool fits = static_cast<std::int64_t>(origin.heads.size()) == shape.heads() &&
                        static_cast<std::int64_t>(origin.kv_heads.size()) == shape.kv_heads &&
                        std::ssize(origin.columns) == (shape.mixture() ? 0 : shape.columns) &&
                        std::ranges::equal(origin.expert_columns, shape.experts, {},
                                           [](const auto& columns) { return std::ssize(columns); });
      if (!fits) {
        throw InputError("does not fit config.json", path.string(), "remove it, or export that model again");
      }
    }
    origins.push_back(std::move(origin));
  }
  return origins;
}

Json attention_groups(const KeptHeads& kept, const Origins& origin) {
  Json groups = Json::array();
  for (std::size_t kv = 0; kv < kept.kv_heads.size(); ++kv) {
    Json group;
    group["kv_head"] = origin.kv_heads[static_cast<std::size_t>(kept.kv_heads[kv])];
    for (std::size_t h = 0; h < kept.heads.size(); ++h) {
      if (kept.kv_of_head[h] == static_cast<std::int32_t>(kv)) {
        group["heads"].push_back(origin.heads[static_cast<std::size_t>(kept.heads[h])]);
      }
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

/// What an assignment keeps of every layer, in the numbering of the origins.
Json kept_layers(const HfConfig& config, const std::vector<Origins>& origins, const SearchSpace& space,
                 const Assignment& assignment) {
  std::vector<Json> attention(static_cast<std::size_t>(config.layers), Json::array()),
      ffn(static_cast<std::size_t>(config.layers), Json::array()),
      experts(static_cast<std::size_t>(config.layers), Json::array());
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    const ModuleId& id = space.modules[i].id;
    const auto at = static_cast<std::size_t>(id.layer);
    const std::vector<std::int64_t> kept = space.modules[i].kept[static_cast<std::size_t>(assignment[i])];
    if (id.kind == ModuleKind::attention) {
      attention[at] =
          attention_groups(kept_heads(config.shape(id.layer).kv_of_head, config.head_dim, kept), origins[at]);
    } else if (id.expert != no_expert) {
      if (kept.empty()) continue;
      const auto expert = static_cast<std::size_t>(id.expert);
      Json columns = Json::array();
      for (const std::int64_t column : kept)
        columns.push_back(origins[at].expert_columns[expert][static_cast<std::size_t>(column)]);
      experts[at].push_back({{"expert", origins[at].experts[expert]}, {"columns", std::move(columns)}});
    } else {
      for (const std::int64_t column : kept) {
        ffn[at].push_back(origins[at].columns[static_cast<std::size_t>(column)]);
      }
    }
  }
  Json layers = Json::array();
  for (std::size_t layer = 0; layer < attention.size(); ++layer) {
    layers.push_back({{"attention", attention[layer]}, {"ffn", ffn[layer]}});
    if (config.shape(static_cast<std::int64_t>(layer)).mixture()) layers.back()["experts"] = experts[layer];
  }
  return layers;
}

}  // namespace

Json pruning_description(const std::filesystem::path& parent, const HfConfig& config,
                         const SearchSpace& space, const Assignment& assignment, const ExportFormat& format) {
  const std::vector<Origins> origins = origins_of(parent, config);
  Json json;
  json["format_version"] = 1;
  json["tool_version"] = version_with_revision();
  json["model_type"] = config.model_type;
  json["dense"] = {{"layers", config.layers},
                   {"heads", config.heads},
                   {"kv_heads", config.kv_heads},
                   {"head_dim", config.head_dim},
                   {"columns", config.intermediate_size}};
  if (config.mixture)
    json["dense"]["experts"] = {{"count", config.mixture->experts}, {"columns", config.mixture->expert_size}};
  json["parameters"] = space.parameters(assignment);
  json["layers"] = kept_layers(config, origins, space, assignment);
  if (!format.smaller && config.pruned()) {
    json["present"] = kept_layers(config, origins, space, Assignment(assignment.size(), 0));
  }
  return json;
}

Json refit_description(const RefitOptions& options, std::span<const ModuleId> modules,
                       const RefittedLevels& refitted) {
  Json json = {{"ridge", name_of(options.ridge)},
               {"calibration_fingerprint", refitted.calibration_fingerprint},
               {"calibration_tokens", refitted.calibration_tokens},
               {"calibration_sequences", refitted.calibration_sequences},
               {"sequence_length", refitted.sequence_length},
               {"batch_tokens", options.batch_tokens},
               {"precision", name_of(refitted.precision)}};
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const double ridge = refitted.ridges[i];
    json["ridges"][name_of(modules[i])] = ridge > 0 && std::isfinite(ridge) ? Json(ridge) : Json();
  }
  return json;
}

}  // namespace galapagos
