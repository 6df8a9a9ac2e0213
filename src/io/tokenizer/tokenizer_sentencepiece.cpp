#include "added_tokens.hpp"
#include "foreign_tokenizers.hpp"
#include "sentencepiece_kinds.hpp"
#include "special_tokens.hpp"
#include "tokenizer_kinds.hpp"

#include <exception>
#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/text_decoder.hpp>

namespace galapagos {
namespace {

constexpr std::uint64_t max_model_bytes = std::uint64_t{512} << 20;

using Processor = sentencepiece::SentencePieceProcessor;

/// `within`: the same model without a space in front of a text.
class SentencePieceTextDecoder : public TextDecoder {
 public:
  SentencePieceTextDecoder(const Processor& first, const Processor& within, bool keep_special)
      : first_(first), within_(within), keep_special_(keep_special) {}

  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    std::vector<int> some;
    bool begun = false;
    const auto finish = [&] {
      if (some.empty()) return;
      text += (begun ? within_ : first_).DecodeIds(some);
      some.clear();
      begun = true;
    };
    for (const std::int32_t id : ids) {
      if (!known(id)) continue;
      if (!keep_special_ || !first_.IsControl(id)) {
        some.push_back(id);
        continue;
      }
      finish();
      text += first_.IdToPiece(id);
    }
    finish();
    return text;
  }
  TokenEnd end_of(std::int32_t id) const override {
    if (!known(id) || (!keep_special_ && first_.IsControl(id))) return TokenEnd::none;
    return first_.IsByte(id) ? TokenEnd::open : TokenEnd::text;
  }

 private:
  bool known(std::int32_t id) const { return id >= 0 && id < first_.GetPieceSize(); }

  const Processor &first_, &within_;
  bool keep_special_;
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const std::filesystem::path& path) : where_(path.string()) {
    const std::string content = read_file(path, max_model_bytes);
    refuse_tiktoken(content, path);
    load(processor_, content);
    // The same without a space in front: of what is said twice in protobuf's format the last counts.
    load(within_,
         content + std::string("\x1a\x02\x18\x00", 4));  // normalizer_spec { add_dummy_prefix: false }
    for (const int id : {processor_.bos_id(), processor_.eos_id(), processor_.unk_id()}) {
      AddedToken token;
      token.id = id;
      if (id >= 0) special_.add(processor_.IdToPiece(id), token);
    }
    warn_of_added_tokens(path);
    fingerprint_ = Hash64().add(content).value();
    bos_ = processor_.bos_id();
    if (const auto token = configured_bos_token(path)) {
      bos_ = find(*token).value_or(-1);
      if (bos_ < 0) {
        throw InputError("the BOS token '" + printable(*token) + "' is not in the vocabulary", where_,
                         "correct bos_token in tokenizer_config.json");
      }
    }
  }

  std::int32_t vocab_size() const override { return processor_.GetPieceSize(); }
  std::optional<std::int32_t> bos_id() const override {
    return bos_ >= 0 ? std::optional<std::int32_t>(bos_) : std::nullopt;
  }
  std::vector<Token> vocabulary() const override {
    const std::vector<TokenKind> kinds = sentencepiece_kinds(processor_.serialized_model_proto(), where_);
    std::vector<Token> tokens;
    for (int id = 0; id < vocab_size(); ++id)
      tokens.push_back({processor_.IdToPiece(id), kinds[static_cast<std::size_t>(id)]});
    return tokens;
  }
  std::vector<TokenMerge> merges() const override {
    throw InputError("a SentencePiece model has scores and no merges", where_,
                     "put the model's tokenizer.json, if it has one, in its place");
  }
  std::vector<float> scores() const override {
    std::vector<float> scores;
    for (int id = 0; id < vocab_size(); ++id) scores.push_back(processor_.GetScore(id));
    return scores;
  }
  SpecialTokens special_tokens() const override {
    const auto known = [](int id) { return id < 0 ? std::nullopt : std::optional<std::int32_t>(id); };
    const SpecialTokens own = {known(processor_.bos_id()), known(processor_.eos_id()),
                               known(processor_.unk_id()), known(processor_.pad_id()),
                               processor_.bos_id() >= 0};
    return configured_special_tokens(where_, own, vocab_size(),
                                     [this](const std::string& token) { return find(token); });
  }
  std::unique_ptr<TextDecoder> decoder(bool keep_special) const override {
    return std::make_unique<SentencePieceTextDecoder>(processor_, within_, keep_special);
  }
  Json definition() const override {
    return sentencepiece_definition(processor_.serialized_model_proto(), where_);
  }
  std::uint64_t fingerprint() const override { return fingerprint_; }
  std::string description() const override {
    return fmt::format("SentencePiece with {} ids ({})", vocab_size(), where_);
  }

 private:
  std::optional<std::int32_t> find(const std::string& token) const {
    const int id = processor_.PieceToId(token);  // of an unknown one that of <unk>
    return processor_.IdToPiece(id) == token ? std::optional<std::int32_t>(id) : std::nullopt;
  }

  /// The model's special tokens are found in the text, and only its beginning gets a space in front, as
  /// transformers has it.
  std::vector<std::int32_t> encode_valid(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    for (const AddedTokenMatcher::Piece& piece : special_.split(text)) {
      if (piece.id) {
        ids.push_back(*piece.id);
        continue;
      }
      std::vector<int> some;
      const auto status = (piece.begin == 0 ? processor_ : within_)
                              .Encode({text.data() + piece.begin, piece.end - piece.begin}, &some);
      if (!status.ok()) {
        throw InputError("SentencePiece cannot tokenize a text: " + printable(status.ToString()), where_,
                         "check the text and the model");
      }
      ids.insert(ids.end(), some.begin(), some.end());
    }
    return ids;
  }

  /// The library says what is wrong either way: of an empty piece, for one, by an exception.
  void load(Processor& processor, const std::string& content) const {
    std::string fault;
    try {
      const auto status = processor.LoadFromSerializedProto(content);
      if (status.ok()) return;
      fault = status.ToString();
    } catch (const std::exception& error) {
      fault = error.what();
    }
    throw InputError("not a SentencePiece model: " + printable(fault), where_, "replace the file");
  }

  void warn_of_added_tokens(const std::filesystem::path& path) const {
    const std::filesystem::path added = path.parent_path() / "added_tokens.json";
    if (!std::filesystem::exists(added)) return;
    const Json tokens = read_json(added);
    for (const auto& [token, id] : tokens.items()) {
      if (find(token)) continue;
      return log_warning_once(fmt::format(
          "{}: '{}' and what else {} does not have is read as any text; transformers makes a tokenizer.json "
          "that has it: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
          added.string(), printable(token, 40), path.filename().string()));
    }
  }

  std::string where_;
  Processor processor_, within_;
  AddedTokenMatcher special_;
  std::uint64_t fingerprint_ = 0;
  int bos_ = -1;
};

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece_tokenizer(const std::filesystem::path& file) {
  return std::make_unique<SentencePieceTokenizer>(file);
}

}  // namespace galapagos
