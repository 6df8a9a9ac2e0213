#include "special_tokens.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos {
namespace {

/// A JSON file beside a tokenizer's.
struct Settings {
  std::string where;
  Json json = Json::object();  ///< empty where there is none

  Settings(const std::filesystem::path& file, const char* name)
      : where((file.parent_path() / name).string()) {
    if (std::filesystem::exists(where)) json = read_json(where);
  }

  /// Of "bos_token": it is text, or an object with the text as its content.
  std::optional<std::string> token(const std::string& key) const {
    if (json_absent(json, key)) return std::nullopt;
    if (json[key].is_string()) return json[key].get<std::string>();
    return json_string(json[key], "content", where + ": " + key);
  }

  /// Of "bos_token_id": the first where there are several; some write -1 for none.
  std::optional<std::int32_t> id(const std::string& key, std::int32_t ids) const {
    if (json_absent(json, key) || (json[key].is_array() && json[key].empty())) return std::nullopt;
    const Json first = Json::object({{key, json[key].is_array() ? json[key][0] : json[key]}});
    const std::int64_t id = json_integer(first, key, -1, ids - 1, where);
    return id < 0 ? std::nullopt : std::optional(static_cast<std::int32_t>(id));
  }
};

}  // namespace

std::optional<std::string> configured_bos_token(const std::filesystem::path& file) {
  return Settings(file, "tokenizer_config.json").token("bos_token");
}

SpecialTokens configured_special_tokens(const std::filesystem::path& file, const SpecialTokens& own,
                                        std::int32_t ids, const FindToken& find) {
  const Settings config(file, "tokenizer_config.json"), map(file, "special_tokens_map.json"),
      model(file, "config.json");
  SpecialTokens tokens = own;
  const auto look = [&](const std::string& name, std::optional<std::int32_t>& id) {
    for (const Settings* settings : {&config, &map}) {
      const std::optional<std::string> token = settings->token(name + "_token");
      if (!token) continue;
      id = find(*token);
      if (id) return;
      throw InputError("the token '" + printable(*token) + "' is not in the vocabulary of " + file.string(),
                       settings->where, "correct " + name + "_token there");
    }
    if (!id) id = model.id(name + "_token_id", ids);
  };
  look("bos", tokens.bos);
  look("eos", tokens.eos);
  look("unk", tokens.unk);
  look("pad", tokens.pad);
  if (!json_absent(config.json, "add_bos_token"))
    tokens.adds_bos = json_bool(config.json, "add_bos_token", config.where);
  tokens.adds_bos = tokens.adds_bos && tokens.bos;
  return tokens;
}

}  // namespace galapagos
