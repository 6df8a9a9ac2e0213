#include "vocabulary.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <memory>
#include <unordered_map>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/chat_template.hpp>

namespace galapagos::gguf {
namespace {

namespace fs = std::filesystem;

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
  const std::string behavior = split.value("behavior", "");
  const bool invert = split.value("invert", false);
  return (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
}

/// The stages of a pre-tokenizer, one after the other, in words; empty where there is one that has none.
void add_stages(const Json& stage, std::string& stages) {
  if (stage.is_null()) return;
  const std::string type = stage.value("type", "");
  if (type == "Sequence" && stage.contains("pretokenizers")) {
    for (const Json& each : stage["pretokenizers"]) add_stages(each, stages);
  } else if (type == "ByteLevel" && !stage.value("add_prefix_space", true)) {
    stages += stage.value("use_regex", true) ? "words;" : "";
  } else if (type == "Digits") {
    stages += stage.value("individual_digits", false) ? "digits;" : "digit groups;";
  } else if (type == "Split" && stage.contains("pattern") && stage["pattern"].contains("Regex") &&
             cuts_out(stage)) {
    stages += stage["pattern"]["Regex"].get<std::string>() + ";";
  } else {
    stages += "unknown;";
  }
}

/// The numbers that llama.cpp has for them.
std::int32_t number_of(TokenKind kind) {
  switch (kind) {
    case TokenKind::normal:
      return 1;
    case TokenKind::unknown:
      return 2;
    case TokenKind::control:
      return 3;
    case TokenKind::user_defined:
      return 4;
    case TokenKind::unused:
      return 5;
    case TokenKind::byte:
      return 6;
  }
  return 1;
}

/// Normalizers, one after the other.
std::vector<Json> steps_of(const Json& normalizer) {
  if (normalizer.is_null()) return {};
  if (normalizer.value("type", "") != "Sequence") return {normalizer};
  std::vector<Json> steps;
  for (const Json& each : normalizer.value("normalizers", Json::array())) {
    const std::vector<Json> inner = steps_of(each);
    steps.insert(steps.end(), inner.begin(), inner.end());
  }
  return steps;
}

bool is_nfc(const Json& step) {
  return step.value("type", "") == "NFC";
}

/// Whether a step puts U+2581 for spaces or in front, as llama.cpp does by itself.
bool writes_spaces(const Json& step) {
  const std::string type = step.value("type", "");
  if (type == "Prepend") return step.value("prepend", "") == "\u2581";
  return type == "Replace" && step.value("content", "") == "\u2581" && step.contains("pattern") &&
         step["pattern"] == Json{{"String", " "}};
}

bool byte_level(const Json& definition) {
  const Json pre = definition.value("pre_tokenizer", Json());
  return pre.dump().find("\"ByteLevel\"") != std::string::npos;
}

/// A byte-level BPE.
void describe_merges(Metadata& metadata, const Tokenizer& tokenizer, std::string pre) {
  const Json definition = tokenizer.definition();
  if (pre.empty()) {
    const auto found = pre_tokenizer_name(definition);
    if (!found) {
      throw InputError(
          "llama.cpp has no name for how this tokenizer cuts texts", tokenizer.description(),
          "give the name with --gguf-pre if you know one that cuts alike, or --gguf-pre none for a file "
          "without a tokenizer");
    }
    pre = *found;
  }
  if (!steps_of(definition.value("normalizer", Json())).empty())
    log_info(
        "gguf: llama.cpp does not normalise texts as this tokenizer does; write them in composed form (NFC)");
  metadata.set("tokenizer.ggml.model", "gpt2");
  metadata.set("tokenizer.ggml.pre", pre);
  std::vector<std::string> merges;
  for (const auto& [left, right] : tokenizer.merges()) merges.push_back(left + " " + right);
  metadata.set("tokenizer.ggml.merges", std::span<const std::string>(merges));
}

/// InputError where a tokenizer.json changes texts otherwise than by writing U+2581 for spaces; tells of what
/// llama.cpp does otherwise at their edges.
void check_spaces(const Json& definition, const std::string& where) {
  if (definition.is_null()) return;
  bool composes = false;
  for (const Json& step : steps_of(definition.value("normalizer", Json()))) {
    composes = composes || is_nfc(step);
    if (!is_nfc(step) && !writes_spaces(step)) {
      throw InputError(
          "llama.cpp does not normalise texts by '" + printable(step.value("type", "?"), 40) + "'", where,
          "give --gguf-pre none for a file without a tokenizer");
    }
  }
  const Json pre = definition.value("pre_tokenizer", Json());
  const std::string type = pre.is_null() ? "" : pre.value("type", "");
  // Gemma's cut at spaces, which are no longer there by then.
  const bool idle = type == "Split" && pre.contains("pattern") && pre["pattern"] == Json{{"String", " "}};
  if (!type.empty() && type != "Metaspace" && !idle) {
    throw InputError("llama.cpp does not cut texts by '" + printable(type, 40) + "'", where,
                     "give --gguf-pre none for a file without a tokenizer");
  }
  if (composes) log_info("gguf: llama.cpp does not compose characters; write texts in composed form (NFC)");
  if (type == "Metaspace" && pre.value("prepend_scheme", "always") != "never")
    log_info(
        "gguf: llama.cpp puts a space in front also of texts that begin with one, which this tokenizer does "
        "not");
}

/// What puts U+2581 for spaces and spells the rest in bytes, as Llama 2 does.
void describe_scores(Metadata& metadata, const Tokenizer& tokenizer, const std::vector<Token>& tokens,
                     std::size_t ids) {
  const Json definition = tokenizer.definition();
  const std::string kind = definition.is_null() ? "" : definition["model"].value("type", "BPE");
  const bool bytes =
      std::ranges::any_of(tokens, [](const Token& token) { return token.kind == TokenKind::byte; });
  if (kind == "Unigram" || !bytes) {
    throw InputError(
        "llama.cpp has no such tokenizer: it takes byte-level BPE, and SentencePiece's BPE with byte "
        "fallback",
        tokenizer.description(), "give --gguf-pre none for a file without a tokenizer");
  }
  check_spaces(definition, tokenizer.description());
  std::vector<float> scores = kind.empty() ? tokenizer.scores() : scores_of(tokens, tokenizer.merges());
  scores.resize(ids, 0.0f);
  metadata.set("tokenizer.ggml.model", "llama");
  metadata.set("tokenizer.ggml.pre", "default");
  metadata.set("tokenizer.ggml.scores", std::span<const float>(scores));
  // Whether it puts a space in front, by what it does.
  const std::vector<std::int32_t> encoded = tokenizer.encode("a");
  const bool space =
      !encoded.empty() && tokens[static_cast<std::size_t>(encoded.front())].text.starts_with("\u2581");
  metadata.set("tokenizer.ggml.add_space_prefix", space);
}

void describe_special_tokens(Metadata& metadata, const Tokenizer& tokenizer) {
  const SpecialTokens special = tokenizer.special_tokens();
  const auto say = [&](const char* key, std::optional<std::int32_t> id) {
    if (id) metadata.set(key, static_cast<std::uint32_t>(*id));
  };
  say("tokenizer.ggml.bos_token_id", special.bos);
  say("tokenizer.ggml.eos_token_id", special.eos);
  say("tokenizer.ggml.unknown_token_id", special.unk);
  say("tokenizer.ggml.padding_token_id", special.pad);
  metadata.set("tokenizer.ggml.add_bos_token", special.adds_bos);
  metadata.set("tokenizer.ggml.add_eos_token", false);
}

bool has_tokenizer(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tokenizer.model");
}

}  // namespace

std::optional<std::string> pre_tokenizer_name(const Json& definition) {
  struct Known {
    std::string_view stages, name;
    std::optional<bool> ignores_merges;  ///< none: no file in circulation tells them apart
  };
  const std::array known = {Known{llama3, "llama-bpe", true},      Known{llama3, "smaug-bpe", false},
                            Known{qwen2, "qwen2", false},          Known{tekken, "tekken", std::nullopt},
                            Known{gpt4o, "gpt-4o", false},         Known{"words", "gpt-2", false},
                            Known{"digits;words", "smollm", false}};
  const Json model = definition.value("model", Json::object());
  if (!std::ranges::all_of(steps_of(definition.value("normalizer", Json())), is_nfc)) return std::nullopt;
  const bool ignores_merges = model.value("ignore_merges", false);
  std::string stages;
  add_stages(definition.value("pre_tokenizer", Json()), stages);
  for (const Known& each : known) {
    const bool merges = !each.ignores_merges || ignores_merges == *each.ignores_merges;
    if (merges && stages == std::string(each.stages) + ";") return std::string(each.name);
  }
  return std::nullopt;
}

std::vector<float> scores_of(const std::vector<Token>& tokens, const std::vector<TokenMerge>& merges) {
  std::unordered_map<std::string, std::size_t> ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id].text, id);
  std::vector<float> scores(tokens.size(), 0.0f);
  float rank = 0;
  for (const auto& [left, right] : merges) {
    --rank;
    const auto made = ids.find(left + right);
    if (made != ids.end() && scores[made->second] == 0) scores[made->second] = rank;
  }
  return scores;
}

void describe_tokenizer(Metadata& metadata, const fs::path& folder, std::int64_t ids,
                        const std::string& pre) {
  if (pre == "none" || !has_tokenizer(folder)) {
    if (pre != "none") log_warning("{} has no tokenizer: the GGUF file has none either", folder.string());
    metadata.set("tokenizer.ggml.model", "none");
    return;
  }
  const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(folder);
  const std::vector<Token> tokens = tokenizer->vocabulary();
  if (std::ssize(tokens) > ids) {
    throw InputError(fmt::format("the tokenizer has {} ids and the model {}", tokens.size(), ids),
                     tokenizer->description(), "give the model its own tokenizer, or --gguf-pre none");
  }
  if (byte_level(tokenizer->definition())) {
    describe_merges(metadata, *tokenizer, pre);
  } else {
    describe_scores(metadata, *tokenizer, tokens, static_cast<std::size_t>(ids));
  }
  std::vector<std::string> texts;
  std::vector<std::int32_t> kinds;
  for (std::size_t id = 0; id < static_cast<std::size_t>(ids); ++id) {
    const bool unused = id >= tokens.size() || tokens[id].kind == TokenKind::unused;
    texts.push_back(unused ? fmt::format("[PAD{}]", id) : tokens[id].text);
    kinds.push_back(number_of(unused ? TokenKind::unused : tokens[id].kind));
  }
  metadata.set("tokenizer.ggml.tokens", std::span<const std::string>(texts));
  metadata.set("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));
  describe_special_tokens(metadata, *tokenizer);
  const std::string chat = chat_template_text(folder);
  if (!chat.empty()) metadata.set("tokenizer.chat_template", chat);
}

}  // namespace galapagos::gguf
