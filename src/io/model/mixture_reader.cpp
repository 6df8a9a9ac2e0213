#include "mixture_reader.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t most_experts = 1 << 16, most_columns = 1 << 24;

std::int64_t number(const Json& json, const std::string& key, std::int64_t otherwise, std::int64_t most,
                    const std::string& where) {
  return json_absent(json, key) ? otherwise : json_integer(json, key, 1, most, where);
}

}  // namespace

std::optional<MixtureSettings> read_mixture(const Json& json, const Family& family,
                                            const std::string& where) {
  if (!family.mixture) return std::nullopt;
  const MixtureKeys& keys = *family.mixture;
  MixtureSettings settings;
  // Either name is read by transformers, whichever the family's configs on the hub have.
  settings.experts = number(json, json_absent(json, "num_experts") ? "num_local_experts" : "num_experts",
                            keys.experts, most_experts, where);
  settings.expert_size = number(json, std::string(keys.expert_size), keys.size, most_columns, where);
  settings.experts_per_token =
      number(json, "num_experts_per_tok", keys.experts_per_token, most_experts, where);
  settings.renormalised = keys.always_renormalised;
  if (!keys.always_renormalised && !json_absent(json, "norm_topk_prob"))
    settings.renormalised = json_bool(json, "norm_topk_prob", where);
  if (settings.experts_per_token > settings.experts) {
    throw InputError(fmt::format("a token goes to {} experts, but there are {}", settings.experts_per_token,
                                 settings.experts),
                     where, "copy or download the file again");
  }
  return settings;
}

std::vector<bool> mixture_layers(const Json& json, const Family& family, std::int64_t layers,
                                 const std::string& where) {
  std::vector<bool> mixtures(static_cast<std::size_t>(layers), family.mixture.has_value());
  if (!family.mixture || !family.mixture->some_layers) return mixtures;
  const std::int64_t step = number(json, "decoder_sparse_step", 1, INT32_MAX, where);
  for (std::int64_t layer = 0; layer < layers; ++layer)
    mixtures[static_cast<std::size_t>(layer)] = (layer + 1) % step == 0;
  constexpr const char* key = "mlp_only_layers";
  if (json_absent(json, key)) return mixtures;
  if (!json[key].is_array())
    throw InputError(fmt::format("key '{}' should be a list of layers", key), where,
                     "copy or download the file again");
  for (const Json& layer : json[key]) {
    const std::int64_t dense = json_integer(Json::object({{key, layer}}), key, INT64_MIN, INT64_MAX, where);
    if (dense >= 0 && dense < layers) mixtures[static_cast<std::size_t>(dense)] = false;
  }
  return mixtures;
}

}  // namespace galapagos
