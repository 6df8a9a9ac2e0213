#include "alike.hpp"
#include "gguf/exporter.hpp"
#include "safetensors_exporter.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/export/export_format.hpp>
#include <galapagos/model/family_rules.hpp>

namespace galapagos {
namespace {

/// That of the model itself, with its own shapes.
Json pruned_config(const HfConfig& parent, const std::vector<LayerShape>& shapes) {
  Json json = parent.source;
  if (json["model_type"] != pruned_model_type) json["base_model_type"] = json["model_type"];
  json["model_type"] = pruned_model_type;
  json["architectures"] = {"GalapagosForCausalLM"};
  json["auto_map"] = {{"AutoConfig", "configuration_galapagos.GalapagosConfig"},
                      {"AutoModel", "modeling_galapagos.GalapagosModel"},
                      {"AutoModelForCausalLM", "modeling_galapagos.GalapagosForCausalLM"}};
  json["num_key_value_heads"] = parent.kv_heads;
  json["head_dim"] = parent.head_dim;
  json["tie_word_embeddings"] = parent.tie_word_embeddings;
  // What the family takes where its config says nothing, which these models' own class does not know.
  const auto say = [&](const char* key, const auto& value) {
    if (!json.contains(key)) json[key] = value;
  };
  say("max_position_embeddings", parent.max_position_embeddings);
  say("rms_norm_eps", parent.rms_norm_eps);
  if (parent.bos_id) say("bos_token_id", *parent.bos_id);
  if (parent.eos_id) say("eos_token_id", *parent.eos_id);
  describe_attention(parent, json);
  Json layers = Json::array();
  for (const LayerShape& shape : shapes) {
    layers.push_back({{"kv_of_head", shape.kv_of_head},
                      {"num_key_value_heads", shape.kv_heads},
                      {"intermediate_size", shape.columns}});
    if (shape.mixture()) layers.back()["experts"] = shape.experts;
  }
  json["pruned_layers"] = std::move(layers);
  return json;
}

Json parents_config(const HfConfig& parent, const std::vector<LayerShape>&) {
  if (parent.pruned()) return pruned_config(parent, parent.layer_shapes);  // also one that others have pruned
  Json json = parent.source;
  json.erase("auto_map");  // its code does not go along, and transformers has its own
  return json;
}

std::unique_ptr<Exporter> as_it_is(const ExportOptions&) {
  return make_safetensors_exporter();
}

std::unique_ptr<Exporter> as_decilm(const ExportOptions&) {
  return make_safetensors_exporter(decilm());
}

std::vector<LayerShape> decilm_shapes(const HfConfig& pruned, const ExportOptions&) {
  return shapes_of(decilm().fits(pruned));
}

double bytes_as_stored(DType stored, const ExportOptions&) {
  return static_cast<double>(size_of(stored));
}

constexpr std::array formats = {
    ExportFormat{"hf", "really smaller, with its own code for transformers", true, true, true, pruned_config,
                 as_it_is, nullptr, bytes_as_stored},
    ExportFormat{"dense", "zeros, loads anywhere", false, true, true, parents_config, as_it_is, nullptr,
                 bytes_as_stored},
    ExportFormat{"family", "the family's own class, where layers are alike", true, true, true, alike_config,
                 as_it_is, nullptr, bytes_as_stored},
    ExportFormat{"gguf", "for llama.cpp", true, false, true, pruned_config, make_gguf_exporter, gguf_shapes,
                 gguf_element_bytes},
    ExportFormat{"decilm", "for engines that know DeciLM", true, false, false, pruned_config, as_decilm,
                 decilm_shapes, bytes_as_stored},
};

}  // namespace

std::span<const ExportFormat> export_formats() {
  return formats;
}

const ExportFormat& export_format_of(const std::string& name) {
  const auto found = std::ranges::find(formats, name, &ExportFormat::name);
  if (found != formats.end()) return *found;
  throw UsageError("unknown format '" + printable(name) + "'", "--format", "choose " + list_export_formats());
}

std::vector<const ExportFormat*> export_formats_of(const std::vector<std::string>& names) {
  std::vector<const ExportFormat*> formats;
  for (const std::string& name : names) {
    const ExportFormat* format = &export_format_of(name);
    if (std::ranges::find(formats, format) != formats.end())
      throw UsageError("format '" + name + "' twice", "--format", "give it once");
    formats.push_back(format);
  }
  if (formats.empty()) throw UsageError("no format", "--format", "choose of " + list_export_formats());
  return formats;
}

void check_mixture(const HfConfig& config, const ExportFormat& format) {
  if (!format.mixtures)
    refuse_mixture(config, std::string("the format ") + format.name, "--format",
                   "give hf, family, gguf or dense");
}

std::string list_export_formats(bool with_about) {
  std::string list;
  for (const ExportFormat& format : formats) {
    if (!list.empty()) list += &format == &formats.back() ? " or " : ", ";
    list += format.name;
    if (with_about) list += fmt::format(" ({})", format.about);
  }
  return list;
}

}  // namespace galapagos
