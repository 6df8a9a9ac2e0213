#include "definition.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace galapagos::gguf {
namespace {

// Cuts by their regular expressions, as tokenizer.json files in circulation write them.
constexpr std::string_view llama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view qwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view tekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view gpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Whether what a pattern finds becomes pieces, and so does what lies between, or there is nothing between,
/// as with the patterns above.
bool cuts_out(const Json& split) {
  const std::string behavior = text_of(split, "behavior");
  const bool invert = flag_of(split, "invert", false);
  return (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
}

/// The stages of a pre-tokenizer, one after the other, in words.
void add_stages(const Json& stage, std::string& stages) {
  if (stage.is_null()) return;
  const std::string type = text_of(stage, "type"), regex = text_of(field(stage, "pattern"), "Regex");
  if (type == "Sequence") {
    for (const Json& each : field(stage, "pretokenizers")) add_stages(each, stages);
  } else if (type == "ByteLevel" && !flag_of(stage, "add_prefix_space", true)) {
    stages += flag_of(stage, "use_regex", true) ? "words;" : "";
  } else if (type == "Digits") {
    stages += flag_of(stage, "individual_digits", false) ? "digits;" : "digit groups;";
  } else if (type == "Split" && !regex.empty() && cuts_out(stage)) {
    stages += regex + ";";
  } else {
    stages += "unknown;";
  }
}

}  // namespace

Json field(const Json& object, const char* key) {
  return json_absent(object, key) ? Json() : object.at(key);
}
std::string text_of(const Json& object, const char* key, const char* otherwise) {
  const Json value = field(object, key);
  return value.is_string() ? value.get<std::string>() : otherwise;
}
bool flag_of(const Json& object, const char* key, bool otherwise) {
  const Json value = field(object, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

std::vector<Json> steps_of(const Json& normalizer) {
  if (normalizer.is_null()) return {};
  if (text_of(normalizer, "type") != "Sequence") return {normalizer};
  std::vector<Json> steps;
  for (const Json& each : field(normalizer, "normalizers")) {
    const std::vector<Json> inner = steps_of(each);
    steps.insert(steps.end(), inner.begin(), inner.end());
  }
  return steps;
}

bool is_nfc(const Json& step) {
  return text_of(step, "type") == "NFC";
}

bool is_space(const Json& pattern) {
  return text_of(pattern, "String") == " ";
}

bool writes_spaces(const Json& step) {
  const std::string type = text_of(step, "type");
  if (type == "Prepend") return text_of(step, "prepend") == "\u2581";
  return type == "Replace" && text_of(step, "content") == "\u2581" && is_space(field(step, "pattern"));
}

bool byte_level(const Json& definition) {
  return field(definition, "pre_tokenizer").dump().find("\"ByteLevel\"") != std::string::npos;
}

std::optional<std::string> pre_tokenizer_name(const Json& definition) {
  struct Known {
    std::string_view stages, name;
    std::optional<bool> ignores_merges;  ///< none: no file in circulation tells them apart
  };
  const std::array known = {Known{llama3, "llama-bpe", true},      Known{llama3, "smaug-bpe", false},
                            Known{qwen2, "qwen2", false},          Known{tekken, "tekken", std::nullopt},
                            Known{gpt4o, "gpt-4o", false},         Known{"words", "gpt-2", false},
                            Known{"digits;words", "smollm", false}};
  const Json model = field(definition, "model");
  if (!std::ranges::all_of(steps_of(field(definition, "normalizer")), is_nfc)) return std::nullopt;
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!text_of(model, affix).empty()) return std::nullopt;
  const bool ignores_merges = flag_of(model, "ignore_merges", false);
  std::string stages;
  add_stages(field(definition, "pre_tokenizer"), stages);
  for (const Known& each : known) {
    const bool merges = !each.ignores_merges || ignores_merges == *each.ignores_merges;
    if (merges && stages == std::string(each.stages) + ";") return std::string(each.name);
  }
  return std::nullopt;
}

}  // namespace galapagos::gguf
