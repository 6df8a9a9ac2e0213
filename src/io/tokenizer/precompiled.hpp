#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos {

/// SentencePiece's table of replacements of a tokenizer.json (normalizer Precompiled), applied as the Hugging
/// Face tokenizers do: to each grapheme cluster of at most 5 bytes as a whole, else to each character.
class Precompiled {
 public:
  /// `charsmap` is in base64: the bytes of a double-array trie, the trie, the replacements. InputError
  /// (naming `where`) where it is damaged.
  Precompiled(std::string_view charsmap, std::string where);

  /// The text replaced. `head`: bytes at its front that stem from the first character of all, before and
  /// after.
  std::string apply(std::string_view text, std::size_t& head) const;

 private:
  /// Of the shortest key that the text begins with; none where it begins with no key.
  std::optional<std::string_view> replacement(std::string_view text) const;
  [[noreturn]] void fail() const;

  std::vector<std::uint32_t> trie_;
  std::string replacements_;  // each ended by a NUL
  std::string where_;
};

}  // namespace galapagos
