#include "post_processor.hpp"

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

std::int32_t read_id(const Json& id, const std::string& where) {
  return static_cast<std::int32_t>(json_integer({{"id", id}}, "id", 0, INT32_MAX - 1, where));
}

/// "cls": ["<s>", 0].
FrontToken classifier(const Json& processor, const std::string& where) {
  const Json pair = json_absent(processor, "cls") ? Json() : processor["cls"];
  if (pair.is_array() && pair.size() == 2 && pair[0].is_string())
    return {pair[0].get<std::string>(), read_id(pair[1], where)};
  throw InputError("post_processor: cls is not a token and its id", where, "replace the file");
}

/// The first part of "single", where it is a token; its ids are beside it in "special_tokens".
std::optional<FrontToken> of_template(const Json& processor, const std::string& where) {
  const Json single = json_absent(processor, "single") ? Json() : processor["single"];
  if (!single.is_array() || single.empty() || json_absent(single.front(), "SpecialToken"))
    return std::nullopt;
  FrontToken token{json_string(single.front()["SpecialToken"], "id", where), std::nullopt};
  const Json all = json_absent(processor, "special_tokens") ? Json() : processor["special_tokens"];
  if (json_absent(all, token.text) || json_absent(all[token.text], "ids")) return token;
  const Json& ids = all[token.text]["ids"];
  if (ids.is_array() && !ids.empty()) token.id = read_id(ids[0], where);
  return token;
}

}  // namespace

std::optional<FrontToken> post_processor_front(const Json& processor, const std::string& where) {
  if (processor.is_null()) return std::nullopt;
  const std::string type = json_string(processor, "type", where);
  if (type == "ByteLevel") return std::nullopt;
  if (type == "RobertaProcessing" || type == "BertProcessing") return classifier(processor, where);
  if (type == "TemplateProcessing") return of_template(processor, where);
  if (type != "Sequence") {
    throw InputError("post_processor '" + printable(type) + "' is not supported", where,
                     "tokenize elsewhere into Megatron .bin/.idx and give those files");
  }
  if (json_absent(processor, "processors")) return std::nullopt;
  for (const Json& step : processor["processors"]) {
    if (auto token = post_processor_front(step, where)) return token;
  }
  return std::nullopt;
}

}  // namespace galapagos
