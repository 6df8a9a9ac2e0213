#include "added_tokens.hpp"
#include "bpe.hpp"
#include "normalizer.hpp"
#include "pre_tokenizer.hpp"
#include "special_tokens.hpp"
#include "tokenizer_file.hpp"
#include "tokenizer_kinds.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>

namespace galapagos {
namespace {

constexpr const char* elsewhere = "tokenize elsewhere into Megatron .bin/.idx and give those files";
constexpr std::uint64_t max_file_bytes = std::uint64_t{512} << 20;

const Json& part(const Json& document, const char* key) {
  static const Json null;
  return json_absent(document, key) ? null : document.at(key);
}

void refuse_unless_null(const Json& object, const char* key, const std::string& where) {
  const Json& value = part(object, key);
  const bool harmless = value.is_null() || value == "" || value == 0.0;
  if (!harmless) {
    throw InputError(fmt::format("'{}' is not supported", key), where, "set it to null in the file");
  }
}

Bpe make_bpe(TokenizerFile& file, bool byte_level, const std::string& where) {
  const Json& model = part(file.rest, "model");
  const std::string type = json_string(model, "type", where + ": model");
  if (type != "BPE") throw InputError("model '" + printable(type) + "' is not supported", where, elsewhere);
  refuse_unless_null(model, "dropout", where);
  refuse_unless_null(model, "continuing_subword_prefix", where);
  refuse_unless_null(model, "end_of_word_suffix", where);
  const auto flag = [&](const char* key) { return !json_absent(model, key) && json_bool(model, key, where); };
  BpeSettings settings;
  settings.byte_level = byte_level;
  settings.byte_fallback = flag("byte_fallback");
  settings.fuse_unk = flag("fuse_unk");
  settings.ignore_merges = flag("ignore_merges");
  if (!json_absent(model, "unk_token")) settings.unk_token = json_string(model, "unk_token", where);
  if (file.vocabulary.empty()) throw InputError("the vocabulary is empty", where, "replace the file");
  Bpe bpe(std::exchange(file.vocabulary, {}), settings, where);
  for (const auto& [left, right] : std::exchange(file.merges, {})) bpe.add_merge(left, right);
  return bpe;
}

AddedToken read_added_token(const Json& entry, const std::string& where) {
  return {json_string(entry, "content", where),
          static_cast<std::int32_t>(json_integer(entry, "id", 0, INT32_MAX - 1, where)),
          json_bool(entry, "single_word", where),
          json_bool(entry, "lstrip", where),
          json_bool(entry, "rstrip", where),
          json_bool(entry, "normalized", where),
          json_bool(entry, "special", where)};
}

/// The token in front of the text in a TemplateProcessing, alone or in a Sequence.
std::optional<std::string> template_bos(const Json& processor, const std::string& where) {
  if (processor.is_null()) return std::nullopt;
  const std::string type = json_string(processor, "type", where);
  if (type == "ByteLevel") return std::nullopt;
  if (type == "Sequence") {
    for (const Json& step : part(processor, "processors")) {
      if (auto token = template_bos(step, where)) return token;
    }
    return std::nullopt;
  }
  if (type != "TemplateProcessing") {
    throw InputError("post_processor '" + printable(type) + "' is not supported", where, elsewhere);
  }
  const Json& single = part(processor, "single");
  if (!single.is_array() || single.empty() || json_absent(single.front(), "SpecialToken")) {
    return std::nullopt;
  }
  return json_string(single.front()["SpecialToken"], "id", where);
}

class JsonTokenizer : public Tokenizer {
 public:
  JsonTokenizer(TokenizerFile file, std::uint64_t fingerprint, const std::filesystem::path& path)
      : where_(path.string()),
        fingerprint_(fingerprint),
        normalizer_(part(file.rest, "normalizer"), where_),
        pre_tokenizer_(part(file.rest, "pre_tokenizer"), where_),
        bpe_(make_bpe(file, pre_tokenizer_.byte_level(), where_)) {
    refuse_unless_null(file.rest, "truncation", where_);
    refuse_unless_null(file.rest, "padding", where_);
    if (pre_tokenizer_.has_metaspace() && !normalizer_.empty()) {
      throw InputError("pre_tokenizer Metaspace together with a normalizer is not supported", where_,
                       elsewhere);
    }
    for (const auto& [token, id] : bpe_.vocabulary()) vocab_size_ = std::max(vocab_size_, id + 1);
    add_tokens(part(file.rest, "added_tokens"));
    set_bos(configured_bos_token(path), part(file.rest, "post_processor"));
  }

  std::int32_t vocab_size() const override { return vocab_size_; }
  std::optional<std::int32_t> bos_id() const override { return bos_; }
  std::vector<Token> vocabulary() const override;
  std::vector<TokenMerge> merges() const override;
  std::vector<float> scores() const override {
    throw InputError("a tokenizer.json has merges and no scores", where_,
                     "put the model's tokenizer.model, if it has one, in its place");
  }
  SpecialTokens special_tokens() const override;
  std::uint64_t fingerprint() const override { return fingerprint_; }
  std::string description() const override {
    return fmt::format("{} BPE with {} ids, {} merges, {} added tokens ({})",
                       pre_tokenizer_.byte_level() ? "byte-level" : "character", vocab_size_, bpe_.merges(),
                       added_.size(), where_);
  }

 private:
  void add_tokens(const Json& entries);
  void set_bos(const std::optional<std::string>& configured, const Json& post_processor);
  std::optional<std::int32_t> find(const std::string& token) const;
  TokenKind kind_of(const std::string& token) const;

  std::vector<std::int32_t> encode_valid(std::string_view text) const override;

  std::string where_;
  std::uint64_t fingerprint_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  std::unordered_map<std::string, AddedToken> added_;
  AddedTokenMatcher plain_;       // matched in the text as it comes
  AddedTokenMatcher normalized_;  // matched in the normalised text
  std::int32_t vocab_size_ = 0;
  std::optional<std::int32_t> bos_, template_bos_;
};

std::optional<std::int32_t> JsonTokenizer::find(const std::string& token) const {
  if (const auto found = added_.find(token); found != added_.end()) return found->second.id;
  if (const auto found = bpe_.vocabulary().find(token); found != bpe_.vocabulary().end()) {
    return found->second;
  }
  return std::nullopt;
}

void JsonTokenizer::add_tokens(const Json& entries) {
  if (!entries.is_null() && !entries.is_array()) {
    throw InputError("added_tokens is not a list", where_, "replace the file");
  }
  std::vector<AddedToken> tokens;
  auto next_id = static_cast<std::int32_t>(bpe_.vocabulary().size());
  for (const Json& entry : entries) {
    AddedToken token = read_added_token(entry, where_);
    if (token.content.empty()) continue;
    // The original numbers these itself: as the vocabulary does, or else on from the highest.
    const std::int32_t id = find(token.content).value_or(next_id);
    if (token.id != id) {
      throw InputError(fmt::format("added token '{}' has id {} but is in the place of {}",
                                   printable(token.content), token.id, id),
                       where_, "list the added tokens in the order of their ids, without gaps");
    }
    if (!added_.emplace(token.content, token).second) {
      throw InputError("added token '" + printable(token.content) + "' is listed twice", where_,
                       "replace the file");
    }
    next_id = std::max(next_id, id + 1);
    vocab_size_ = std::max(vocab_size_, id + 1);
    tokens.push_back(std::move(token));
  }
  std::stable_partition(tokens.begin(), tokens.end(), [](const AddedToken& token) { return token.special; });
  for (const AddedToken& token : tokens) {
    std::string storage;
    if (token.normalized) {
      normalized_.add(std::string(normalizer_.apply(token.content, storage)), token);
    } else {
      plain_.add(token.content, token);
    }
  }
}

void JsonTokenizer::set_bos(const std::optional<std::string>& configured, const Json& post_processor) {
  const auto from_template = template_bos(post_processor, where_);
  if (from_template) template_bos_ = find(*from_template);
  const auto& token = configured ? configured : from_template;
  if (!token) return;
  bos_ = find(*token);
  if (!bos_) {
    throw InputError("the BOS token '" + printable(*token) + "' is not in the vocabulary", where_,
                     "correct bos_token in tokenizer_config.json");
  }
}

TokenKind JsonTokenizer::kind_of(const std::string& token) const {
  const BpeSettings& settings = bpe_.settings();
  if (!settings.byte_level && token == settings.unk_token) return TokenKind::unknown;
  if (const auto added = added_.find(token); added != added_.end())
    return added->second.special ? TokenKind::control : TokenKind::user_defined;
  return TokenKind::normal;
}

std::vector<Token> JsonTokenizer::vocabulary() const {
  std::vector<Token> tokens(static_cast<std::size_t>(vocab_size_));
  const auto put = [&](const std::string& text, std::int32_t id) {
    Token& token = tokens[static_cast<std::size_t>(id)];
    if (token.kind != TokenKind::unused && token.text != text)
      throw InputError(fmt::format("two tokens have the id {}", id), where_, "replace the file");
    token = {text, kind_of(text)};
  };
  for (const auto& [text, id] : bpe_.vocabulary()) put(text, id);
  for (const auto& [text, token] : added_) put(text, token.id);
  for (unsigned byte = 0; bpe_.settings().byte_fallback && byte < 256; ++byte) {
    const std::optional<std::int32_t> id = find(byte_token(byte));
    if (!id) continue;
    TokenKind& kind = tokens[static_cast<std::size_t>(*id)].kind;
    if (kind == TokenKind::normal) kind = TokenKind::byte;
  }
  return tokens;
}

std::vector<TokenMerge> JsonTokenizer::merges() const {
  const std::vector<Token> tokens = vocabulary();
  const auto text = [&](std::int32_t id) { return tokens[static_cast<std::size_t>(id)].text; };
  std::vector<TokenMerge> merges;
  for (const PairTable::Entry& entry : bpe_.merge_table().entries())
    merges.emplace_back(text(entry.left), text(entry.right));
  return merges;
}

SpecialTokens JsonTokenizer::special_tokens() const {
  SpecialTokens own;
  own.bos = template_bos_;
  own.adds_bos = template_bos_.has_value();
  if (const auto& unk = bpe_.settings().unk_token) own.unk = find(*unk);
  return configured_special_tokens(where_, own, vocab_size_,
                                   [this](const std::string& token) { return find(token); });
}

std::vector<std::int32_t> JsonTokenizer::encode_valid(std::string_view text) const {
  std::vector<std::int32_t> ids;
  Bpe::Scratch scratch;
  std::string storage;
  const PreTokenizer::Sink sink = [&](std::string_view piece) { bpe_.encode(piece, scratch, ids); };
  for (const auto& outer : plain_.split(text)) {
    if (outer.id) {
      ids.push_back(*outer.id);
      continue;
    }
    const std::string_view normal =
        normalizer_.apply(text.substr(outer.begin, outer.end - outer.begin), storage);
    for (const auto& inner : normalized_.split(normal)) {
      if (inner.id) {
        ids.push_back(*inner.id);
      } else {
        pre_tokenizer_.split(normal.substr(inner.begin, inner.end - inner.begin),
                             outer.begin == 0 && inner.begin == 0, sink);
      }
    }
  }
  return ids;
}

}  // namespace

std::unique_ptr<Tokenizer> load_json_tokenizer(const std::filesystem::path& file) {
  const std::string text = read_file(file, max_file_bytes);
  const std::uint64_t fingerprint = Hash64().add(text).value();
  return std::make_unique<JsonTokenizer>(parse_tokenizer_file(text, file.string()), fingerprint, file);
}

}  // namespace galapagos
