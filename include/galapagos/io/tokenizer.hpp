#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos {

/// Turns text into token ids exactly as the tokenizer that a model came with does.
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

  /// The highest id + 1.
  virtual std::int32_t vocab_size() const = 0;
  /// The id that belongs in front of a text, where the tokenizer says so.
  virtual std::optional<std::int32_t> bos_id() const = 0;
  /// One line: kind, ids, file.
  virtual std::string description() const = 0;
  /// Checksum of the tokenizer's file.
  virtual std::uint64_t fingerprint() const = 0;

 private:
  /// The same for valid UTF-8 of at most max_text_bytes.
  virtual std::vector<std::int32_t> encode_valid(std::string_view text) const = 0;
};

/// A longer text is refused (InputError): cut it into documents.
constexpr std::size_t max_text_bytes = std::size_t{1} << 30;

}  // namespace galapagos
