#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

class TextDecoder;

enum class TokenKind : std::uint8_t {
  normal,
  unknown,       ///< for what the others cannot spell
  control,       ///< no text: begins, ends, fills up
  user_defined,  ///< always a token of its own where its text is found
  unused,        ///< an id of no token
  byte,          ///< "<0x0A>", for the bytes of what the normal ones cannot spell
};

/// A token as the tokenizer's file spells it: at byte level in GPT-2's stand-ins for bytes, else with U+2581
/// for a space.
struct Token {
  std::string text;
  TokenKind kind = TokenKind::unused;

  bool operator==(const Token&) const = default;
};

/// Two tokens that become one.
using TokenMerge = std::pair<std::string, std::string>;

/// The ids with a task of their own, where there are such.
struct SpecialTokens {
  std::optional<std::int32_t> bos, eos, unk, pad;
  bool adds_bos = false;  ///< whether the tokenizer in its own library puts BOS in front of a text

  bool operator==(const SpecialTokens&) const = default;
};

/// An added token in a text, as bytes from begin to before end, and where its id is. The text before it, and
/// it with what follows it, have the same ids together as each by itself.
struct TokenCut {
  std::size_t begin = 0, end = 0, id = 0;
};

/// Turns text into token ids, and back, exactly as the tokenizer that a model came with does.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Loads `tokenizer.json` or else `tokenizer.model` from a Hugging Face folder, or one such file by its own
  /// path. InputError where there is none, or where it holds anything that is not supported exactly.
  static std::unique_ptr<Tokenizer> load(const std::filesystem::path& folder_or_file);

  /// The ids of a text. Adds no special tokens; those of a tokenizer.json that appear in the text are
  /// recognised. The text is UTF-8; each maximal invalid part counts as one U+FFFD (as Python's
  /// errors="replace").
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// The same of valid UTF-8, with the places in it from which encoding may begin anew, if any are known.
  std::vector<std::int32_t> encode(std::string_view text, std::vector<TokenCut>& cuts) const;

  /// The highest id + 1.
  virtual std::int32_t vocab_size() const = 0;
  /// The id that belongs in front of a text, where the tokenizer says so.
  virtual std::optional<std::int32_t> bos_id() const = 0;
  /// All tokens by their ids, from 0 to vocab_size() - 1. InputError where two have the same id.
  virtual std::vector<Token> vocabulary() const = 0;
  /// In the order of their ranks. InputError for a tokenizer that has scores instead.
  virtual std::vector<TokenMerge> merges() const = 0;
  /// By ids: of a SentencePiece model, or a Unigram's. InputError for a tokenizer that has merges instead.
  virtual std::vector<float> scores() const = 0;
  /// By the first that names a token: tokenizer_config.json or special_tokens_map.json beside the file, the
  /// file itself, config.json beside it. InputError for one that is not in the vocabulary.
  virtual SpecialTokens special_tokens() const = 0;
  /// How it treats texts, as a tokenizer.json says under "normalizer", "pre_tokenizer", "added_tokens" and
  /// "model", the latter without its tables; what of this a SentencePiece model has, and whether it "strips"
  /// spaces.
  virtual Json definition() const = 0;
  /// What turns ids back into text, without the special tokens or with them; this must outlive it.
  /// InputError, naming it, where the tokenizer's file asks for a way that is not supported.
  virtual std::unique_ptr<TextDecoder> decoder(bool keep_special = false) const = 0;
  /// One line: kind, ids, file.
  virtual std::string description() const = 0;
  /// Checksum of the tokenizer's file.
  virtual std::uint64_t fingerprint() const = 0;

 private:
  /// The same for valid UTF-8 of at most max_text_bytes.
  virtual std::vector<std::int32_t> encode_valid(std::string_view text) const = 0;
  virtual std::vector<std::int32_t> encode_cut(std::string_view text, std::vector<TokenCut>& cuts) const;
};

/// A longer text is refused (InputError): cut it into documents.
constexpr std::size_t max_text_bytes = std::size_t{1} << 30;

}  // namespace galapagos
