#include "vocabulary.hpp"

#include "definition.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/chat_template.hpp>

namespace galapagos::gguf {
namespace {

namespace fs = std::filesystem;

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
  if (!steps_of(field(definition, "normalizer")).empty())
    log_info(
        "gguf: llama.cpp does not normalise texts as this tokenizer does; write them in composed form (NFC)");
  metadata.set("tokenizer.ggml.model", "gpt2");
  metadata.set("tokenizer.ggml.pre", pre);
  std::vector<std::string> merges;
  for (const auto& [left, right] : tokenizer.merges()) merges.push_back(left + " " + right);
  metadata.set("tokenizer.ggml.merges", std::span<const std::string>(merges));
}

/// InputError where texts are changed otherwise than by writing U+2581 for spaces; tells of what llama.cpp
/// does otherwise at their edges.
void check_spaces(const Json& definition, const std::string& where) {
  constexpr const char* remedy = "give --gguf-pre none for a file without a tokenizer";
  bool composes = false;
  for (const Json& step : steps_of(field(definition, "normalizer"))) {
    composes = composes || is_nfc(step);
    if (!is_nfc(step) && !writes_spaces(step)) {
      throw InputError(
          "llama.cpp does not normalise texts by '" + printable(text_of(step, "type", "?"), 40) + "'", where,
          remedy);
    }
  }
  const Json pre = field(definition, "pre_tokenizer");
  const std::string type = text_of(pre, "type");
  // Gemma's cut at spaces, which are no longer there by then.
  const bool idle = type == "Split" && is_space(field(pre, "pattern"));
  if (!pre.is_null() && type != "Metaspace" && !idle)
    throw InputError("llama.cpp does not cut texts by '" + printable(type, 40) + "'", where, remedy);
  if (composes) log_info("gguf: llama.cpp does not compose characters; write texts in composed form (NFC)");
  if (flag_of(definition, "strips", false))
    log_info(
        "gguf: llama.cpp keeps spaces at the ends of texts and doubled ones, which this tokenizer drops");
  const bool sentencepiece = !field(definition, "strips").is_null();
  if (sentencepiece || (type == "Metaspace" && text_of(pre, "prepend_scheme", "always") != "never"))
    log_info(
        "gguf: llama.cpp puts a space in front behind special tokens, too, and of texts that begin with one");
}

/// Tells of added tokens that take spaces with them or only whole words, for which the format has no place.
void tell_of_added_tokens(const Json& definition) {
  std::string names;
  for (const Json& token : field(definition, "added_tokens")) {
    const bool special_case = flag_of(token, "lstrip", false) || flag_of(token, "rstrip", false) ||
                              flag_of(token, "single_word", false);
    if (special_case && names.size() < 100)
      names += (names.empty() ? "" : ", ") + printable(text_of(token, "content"), 40);
  }
  if (!names.empty())
    log_warning(
        "gguf: llama.cpp does not take spaces beside added tokens with them, nor leaves words whole, as this "
        "tokenizer "
        "does for {}",
        names);
}

/// The score of what is never merged.
constexpr float never_made = -1e6f;

/// What puts U+2581 for spaces and spells the rest in bytes, as Llama 2 does.
void describe_scores(Metadata& metadata, const Tokenizer& tokenizer, const std::vector<Token>& tokens,
                     std::size_t ids) {
  const Json definition = tokenizer.definition();
  const bool bpe = text_of(field(definition, "model"), "type", "BPE") == "BPE";
  const bool bytes =
      std::ranges::any_of(tokens, [](const Token& token) { return token.kind == TokenKind::byte; });
  if (!bpe || !bytes) {
    throw InputError(
        "llama.cpp has no such tokenizer: it takes byte-level BPE, and SentencePiece's BPE with byte "
        "fallback",
        tokenizer.description(), "give --gguf-pre none for a file without a tokenizer");
  }
  check_spaces(definition, tokenizer.description());
  const bool scored = !field(definition, "strips").is_null();  // a SentencePiece model
  std::vector<float> scores = scored ? tokenizer.scores() : scores_of(tokens, tokenizer.merges());
  scores.resize(ids, never_made);
  metadata.set("tokenizer.ggml.model", "llama");
  metadata.set("tokenizer.ggml.pre", "default");
  metadata.set("tokenizer.ggml.scores", std::span<const float>(scores));
  // Whether it puts a space in front, by what it does.
  const std::vector<std::int32_t> encoded = tokenizer.encode("a");
  const bool space =
      !encoded.empty() && tokens[static_cast<std::size_t>(encoded.front())].text.starts_with("\u2581");
  metadata.set("tokenizer.ggml.add_space_prefix", space);
}

void describe_special_tokens(Metadata& metadata, const Tokenizer& tokenizer, const HfConfig& config) {
  SpecialTokens special = tokenizer.special_tokens();
  const auto known = [](const std::optional<std::int64_t>& id) {
    return id ? std::optional(static_cast<std::int32_t>(*id)) : std::nullopt;
  };
  if (!special.bos) special.bos = known(config.bos_id);
  if (!special.eos) special.eos = known(config.eos_id);
  if (!special.eos)
    log_warning("gguf: nothing says which token ends a text; llama.cpp takes one of its own choice");
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

/// The texts and kinds of all ids, as llama.cpp looks for them.
void describe_tokens(Metadata& metadata, const std::vector<Token>& tokens, std::size_t ids, bool bytes) {
  std::vector<std::string> texts;
  std::vector<std::int32_t> kinds;
  std::unordered_set<std::string> seen;
  for (const Token& token : tokens) seen.insert(token.text);
  for (std::size_t id = 0; id < ids; ++id) {
    const TokenKind kind = id < tokens.size() ? tokens[id].kind : TokenKind::unused;
    std::string text = id < tokens.size() ? tokens[id].text : "";
    if (text.empty()) {
      text = fmt::format("[PAD{}]", id);
      while (!seen.insert(text).second) text += "_";
    } else if (!bytes && kind == TokenKind::user_defined) {
      // These it finds in the text as it comes.
      for (std::size_t at; (at = text.find("\u2581")) != text.npos;)
        text.replace(at, std::string_view("\u2581").size(), " ");
    }
    texts.push_back(std::move(text));
    kinds.push_back(number_of(kind));
  }
  metadata.set("tokenizer.ggml.tokens", std::span<const std::string>(texts));
  metadata.set("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));
}

bool has_tokenizer(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tokenizer.model");
}

}  // namespace

std::vector<float> scores_of(const std::vector<Token>& tokens, const std::vector<TokenMerge>& merges) {
  std::unordered_map<std::string, std::size_t> ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id].text, id);
  std::vector<float> scores(tokens.size(), never_made);
  float rank = 0;
  for (const auto& [left, right] : merges) {
    --rank;
    const auto made = ids.find(left + right);
    if (made != ids.end()) scores[made->second] = std::max(scores[made->second], rank);
  }
  return scores;
}

void describe_tokenizer(Metadata& metadata, const fs::path& folder, const HfConfig& config,
                        const std::string& pre) {
  if (pre == "none" || !has_tokenizer(folder)) {
    if (pre != "none") log_warning("{} has no tokenizer: the GGUF file has none either", folder.string());
    metadata.set("tokenizer.ggml.model", "none");
    return;
  }
  const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(folder);
  const std::vector<Token> tokens = tokenizer->vocabulary();
  if (std::ssize(tokens) > config.vocab_size) {
    throw InputError(
        fmt::format("the tokenizer has {} ids and the model {}", tokens.size(), config.vocab_size),
        tokenizer->description(), "give the model its own tokenizer, or --gguf-pre none");
  }
  const auto ids = static_cast<std::size_t>(config.vocab_size);
  const bool bytes = byte_level(tokenizer->definition());
  if (bytes) {
    describe_merges(metadata, *tokenizer, pre);
  } else {
    describe_scores(metadata, *tokenizer, tokens, ids);
  }
  tell_of_added_tokens(tokenizer->definition());
  describe_tokens(metadata, tokens, ids, bytes);
  describe_special_tokens(metadata, *tokenizer, config);
  const std::string chat = chat_template_text(folder);
  if (!chat.empty()) metadata.set("tokenizer.chat_template", chat);
}

}  // namespace galapagos::gguf
