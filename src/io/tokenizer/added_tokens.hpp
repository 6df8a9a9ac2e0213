#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace galapagos {

/// A token that is cut out of the text before the model sees it (`added_tokens` of a tokenizer.json).
struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space after it along
  bool normalized = false;   ///< is looked for, normalised, in the normalised text
  bool special = false;
};

/// Cuts a text at added tokens: leftmost match first, longest of those.
class AddedTokenMatcher {
 public:
  struct Piece {
    std::size_t begin;
    std::size_t end;
    std::optional<std::int32_t> id;  ///< of the added token; none for text between
  };

  /// `pattern` is what to look for. Of equal patterns the first one added counts.
  void add(const std::string& pattern, const AddedToken& token);
  std::vector<Piece> split(std::string_view text) const;

 private:
  struct Match {
    std::size_t end;
    const AddedToken* token;
  };
  std::optional<Match> longest_match(std::string_view text, std::size_t at) const;

  // A trie: (node << 8 | byte) -> node; node -> index of its token.
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;
  std::vector<std::int32_t> token_of_node_ = {-1};
  std::vector<AddedToken> tokens_;
  std::bitset<256> first_bytes_;
};

}  // namespace galapagos
