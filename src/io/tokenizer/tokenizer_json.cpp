#include "added_tokens.hpp"
#include "byte_level.hpp"
#include "decoder.hpp"
#include "foreign_tokenizers.hpp"
#include "json_model.hpp"
#include "normalizer.hpp"
#include "post_processor.hpp"
#include "pre_tokenizer.hpp"
#include "special_tokens.hpp"
#include "tokenizer_file.hpp"
#include "tokenizer_kinds.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <unordered_map>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/utf8.hpp>
#include <galapagos/io/text_decoder.hpp>

namespace galapagos {
namespace {

constexpr std::uint64_t max_file_bytes = std::uint64_t{512} << 20;

const Json& part(const Json& document, const char* key) {
  static const Json null;
  return json_absent(document, key) ? null : document.at(key);
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

/// Tokens by their ids, empty where they have no text, and what makes a text of them.
class JsonTextDecoder : public TextDecoder {
 public:
  JsonTextDecoder(std::vector<std::string> tokens, const Json& definition, const std::string& where)
      : tokens_(std::move(tokens)), decoder_(definition, where) {}

  std::string decode(std::span<const std::int32_t> ids) const override {
    std::vector<std::string> tokens;
    for (const std::int32_t id : ids)
      if (const std::string* token = find(id)) tokens.push_back(*token);
    return decoder_.decode(std::move(tokens));
  }
  TokenEnd end_of(std::int32_t id) const override {
    const std::string* token = find(id);
    if (token == nullptr) return TokenEnd::none;
    return byte_of_token(*token) >= 0 ? TokenEnd::open : TokenEnd::text;
  }

 private:
  const std::string* find(std::int32_t id) const {
    if (id < 0 || id >= std::ssize(tokens_)) return nullptr;
    const std::string& token = tokens_[static_cast<std::size_t>(id)];
    return token.empty() ? nullptr : &token;
  }

  std::vector<std::string> tokens_;
  Decoder decoder_;
};

class JsonTokenizer : public Tokenizer {
 public:
  JsonTokenizer(TokenizerFile file, std::uint64_t fingerprint, const std::filesystem::path& path)
      : where_(path.string()),
        fingerprint_(fingerprint),
        definition_({{"normalizer", part(file.rest, "normalizer")},
                     {"pre_tokenizer", part(file.rest, "pre_tokenizer")},
                     {"added_tokens", part(file.rest, "added_tokens")},
                     {"model", part(file.rest, "model")}}),
        decoder_(part(file.rest, "decoder")),
        normalizer_(part(file.rest, "normalizer"), where_),
        pre_tokenizer_(part(file.rest, "pre_tokenizer"), where_),
        model_(make_json_model(file, pre_tokenizer_.byte_level(), where_)) {
    // `truncation` and `padding` are the state of a program that saved the file, not of the tokenizer.
    for (const auto& [token, id] : model_vocabulary()) vocab_size_ = std::max(vocab_size_, id + 1);
    if (const auto* unigram = std::get_if<Unigram>(&model_))
      vocab_size_ = static_cast<std::int32_t>(unigram->pieces().size());
    add_tokens(part(file.rest, "added_tokens"));
    set_bos(configured_bos_token(path), part(file.rest, "post_processor"));
  }

  std::int32_t vocab_size() const override { return vocab_size_; }
  std::optional<std::int32_t> bos_id() const override { return bos_; }
  std::vector<Token> vocabulary() const override;
  std::vector<TokenMerge> merges() const override;
  std::vector<float> scores() const override;
  SpecialTokens special_tokens() const override;
  Json definition() const override { return definition_; }
  std::unique_ptr<TextDecoder> decoder(bool keep_special) const override;
  std::uint64_t fingerprint() const override { return fingerprint_; }
  std::string description() const override {
    const auto* bpe = std::get_if<Bpe>(&model_);
    const std::string kind = bpe != nullptr
                                 ? fmt::format("BPE with {} ids, {} merges", vocab_size_, bpe->merges())
                                 : fmt::format("Unigram with {} ids", vocab_size_);
    return fmt::format("{} {}, {} added tokens ({})",
                       pre_tokenizer_.byte_level() ? "byte-level" : "character", kind, added_.size(), where_);
  }

 private:
  void add_tokens(const Json& entries);
  void set_bos(const std::optional<std::string>& configured, const Json& post_processor);
  std::optional<std::int32_t> find(const std::string& token) const;
  TokenKind kind_of(const std::string& token) const;
  const Vocabulary& model_vocabulary() const;
  std::optional<std::string> unknown_token() const;
  bool falls_back_to_bytes() const;

  std::vector<std::int32_t> encode_valid(std::string_view text) const override {
    std::vector<TokenCut> unused;
    return encode_cut(text, unused);
  }
  std::vector<std::int32_t> encode_cut(std::string_view text, std::vector<TokenCut>& cuts) const override;
  /// Hands the pieces for the model to `sink`, and appends the added tokens between them.
  void cut(std::string_view text, std::vector<std::int32_t>& ids, std::vector<TokenCut>& cuts,
           const PreTokenizer::Sink& sink) const;

  std::string where_;
  std::uint64_t fingerprint_;
  Json definition_;
  Json decoder_;  // which is looked at once it is asked for
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  JsonModel model_;
  std::unordered_map<std::string, AddedToken> added_;
  AddedTokenMatcher plain_;       // matched in the text as it comes
  AddedTokenMatcher normalized_;  // matched in the normalised text
  std::int32_t vocab_size_ = 0;
  std::optional<std::int32_t> bos_;
  std::optional<std::int32_t> front_;  // what the post-processor puts in front
};

const Vocabulary& JsonTokenizer::model_vocabulary() const {
  return std::visit([](const auto& model) -> const Vocabulary& { return model.vocabulary(); }, model_);
}

std::optional<std::string> JsonTokenizer::unknown_token() const {
  if (const auto* bpe = std::get_if<Bpe>(&model_)) return bpe->settings().unk_token;
  const auto& unigram = std::get<Unigram>(model_);
  const auto id = unigram.settings().unk_id;
  return id ? std::optional(unigram.pieces()[static_cast<std::size_t>(*id)].first) : std::nullopt;
}

bool JsonTokenizer::falls_back_to_bytes() const {
  return std::visit([](const auto& model) { return model.settings().byte_fallback; }, model_);
}

std::optional<std::int32_t> JsonTokenizer::find(const std::string& token) const {
  if (const auto found = added_.find(token); found != added_.end()) return found->second.id;
  const Vocabulary& vocabulary = model_vocabulary();
  if (const auto found = vocabulary.find(token); found != vocabulary.end()) return found->second;
  return std::nullopt;
}

void JsonTokenizer::add_tokens(const Json& entries) {
  if (!entries.is_null() && !entries.is_array()) {
    throw InputError("added_tokens is not a list", where_, "replace the file");
  }
  std::vector<AddedToken> tokens;
  const auto* unigram = std::get_if<Unigram>(&model_);
  auto next_id =
      static_cast<std::int32_t>(unigram != nullptr ? unigram->pieces().size() : model_vocabulary().size());
  for (const Json& entry : entries) {
    AddedToken token = read_added_token(entry, where_);
    if (token.content.empty()) continue;
    // The original numbers these itself: as the vocabulary does, else on from its size.
    const auto known = find(token.content);
    if (known && token.id != *known) {
      log_info("{}: added token '{}' is listed with the id {}, but the vocabulary has it as {}, which counts",
               where_, printable(token.content), token.id, *known);
      token.id = *known;
    }
    if (!known && token.id != next_id) {
      throw InputError(fmt::format("added token '{}' has id {} but is in the place of {}",
                                   printable(token.content), token.id, next_id),
                       where_, "list the added tokens in the order of their ids, without gaps");
    }
    if (!known) ++next_id;
    if (!added_.emplace(token.content, token).second) {
      throw InputError("added token '" + printable(token.content) + "' is listed twice", where_,
                       "replace the file");
    }
    vocab_size_ = std::max(vocab_size_, token.id + 1);
    tokens.push_back(std::move(token));
  }
  std::stable_partition(tokens.begin(), tokens.end(), [](const AddedToken& token) { return token.special; });
  for (const AddedToken& token : tokens) {
    std::string storage;
    if (token.normalized) {
      std::size_t head = 0;
      normalized_.add(std::string(normalizer_.apply(token.content, storage, head)), token);
    } else {
      plain_.add(token.content, token);
    }
  }
}

void JsonTokenizer::set_bos(const std::optional<std::string>& configured, const Json& post_processor) {
  const auto known = [&](const std::string& token, std::optional<std::int32_t> id) {
    if (id && *id < vocab_size_) return *id;
    throw InputError("the BOS token '" + printable(token) + "' is not in the vocabulary", where_,
                     "correct bos_token in tokenizer_config.json");
  };
  const auto front = post_processor_front(post_processor, where_);
  if (front && (front->id || !configured))
    front_ = known(front->text, front->id ? front->id : find(front->text));
  bos_ = configured ? known(*configured, find(*configured)) : front_;
}

TokenKind JsonTokenizer::kind_of(const std::string& token) const {
  if (!pre_tokenizer_.byte_level() && token == unknown_token()) return TokenKind::unknown;
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
  if (const auto* unigram = std::get_if<Unigram>(&model_)) {
    std::int32_t id = 0;
    for (const auto& [text, score] : unigram->pieces()) put(text, id++);
  } else {
    for (const auto& [text, id] : model_vocabulary()) put(text, id);
  }
  for (const auto& [text, token] : added_) put(text, token.id);
  for (unsigned byte = 0; falls_back_to_bytes() && byte < 256; ++byte) {
    const std::optional<std::int32_t> id = find(byte_token(byte));
    if (!id) continue;
    TokenKind& kind = tokens[static_cast<std::size_t>(*id)].kind;
    if (kind == TokenKind::normal) kind = TokenKind::byte;
  }
  return tokens;
}

std::vector<float> JsonTokenizer::scores() const {
  const auto* unigram = std::get_if<Unigram>(&model_);
  if (unigram == nullptr) {
    throw InputError("a tokenizer.json with a BPE has merges and no scores", where_,
                     "put the model's tokenizer.model, if it has one, in its place");
  }
  std::vector<float> scores(static_cast<std::size_t>(vocab_size_));
  std::ranges::transform(unigram->pieces(), scores.begin(),
                         [](const auto& piece) { return static_cast<float>(piece.second); });
  return scores;
}

std::vector<TokenMerge> JsonTokenizer::merges() const {
  const auto* bpe = std::get_if<Bpe>(&model_);
  if (bpe == nullptr) {
    throw InputError("a tokenizer.json with a Unigram has scores and no merges", where_,
                     "give a tokenizer with a BPE");
  }
  const std::vector<Token> tokens = vocabulary();
  const auto text = [&](std::int32_t id) { return tokens[static_cast<std::size_t>(id)].text; };
  std::vector<TokenMerge> merges;
  for (const PairTable::Entry& entry : bpe->merge_table().entries())
    merges.emplace_back(text(entry.left), text(entry.right));
  return merges;
}

SpecialTokens JsonTokenizer::special_tokens() const {
  SpecialTokens own;
  own.bos = front_;
  own.adds_bos = front_.has_value();
  if (const auto unk = unknown_token()) own.unk = find(*unk);
  return configured_special_tokens(where_, own, vocab_size_,
                                   [this](const std::string& token) { return find(token); });
}

std::unique_ptr<TextDecoder> JsonTokenizer::decoder(bool keep_special) const {
  std::vector<std::string> tokens;
  for (Token& token : vocabulary()) {
    std::string storage;
    std::size_t head = 0;
    auto added = added_.find(token.text);
    if (added != added_.end() && added->second.normalized) {  // then it is known in its normal form
      token.text = std::string(normalizer_.apply(token.text, storage, head));
      added = added_.find(token.text);
    }
    const bool special = added != added_.end() && added->second.special;
    tokens.push_back(special && !keep_special ? "" : std::move(token.text));
  }
  return std::make_unique<JsonTextDecoder>(std::move(tokens), decoder_, where_);
}

std::vector<std::int32_t> JsonTokenizer::encode_cut(std::string_view text,
                                                    std::vector<TokenCut>& cuts) const {
  std::vector<std::int32_t> ids;
  std::visit(
      [&](const auto& model) {
        typename std::decay_t<decltype(model)>::Scratch scratch;
        cut(text, ids, cuts, [&](std::string_view piece) { model.encode(piece, scratch, ids); });
      },
      model_);
  return ids;
}

void JsonTokenizer::cut(std::string_view text, std::vector<std::int32_t>& ids, std::vector<TokenCut>& cuts,
                        const PreTokenizer::Sink& sink) const {
  std::string storage;
  for (const auto& outer : plain_.split(text)) {
    if (outer.id) {
      cuts.push_back({outer.begin, outer.end, ids.size()});
      ids.push_back(*outer.id);
      continue;
    }
    std::size_t head = outer.begin == 0 ? utf8_length(text, 0) : 0;
    const std::string_view normal =
        normalizer_.apply(text.substr(outer.begin, outer.end - outer.begin), storage, head);
    for (const auto& inner : normalized_.split(normal)) {
      if (inner.id) {
        ids.push_back(*inner.id);
      } else {
        pre_tokenizer_.split(normal.substr(inner.begin, inner.end - inner.begin),
                             head > inner.begin ? head - inner.begin : 0, sink);
      }
    }
  }
}

}  // namespace

std::unique_ptr<Tokenizer> load_json_tokenizer(const std::filesystem::path& file) {
  const std::string text = read_file(file, max_file_bytes);
  const std::uint64_t fingerprint = Hash64().add(text).value();
  TokenizerFile parsed = parse_tokenizer_file(text, file.string());
  refuse_foreign_json(parsed.rest, file);
  return std::make_unique<JsonTokenizer>(std::move(parsed), fingerprint, file);
}

}  // namespace galapagos
