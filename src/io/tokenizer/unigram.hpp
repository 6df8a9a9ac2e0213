#pragma once

#include "vocabulary.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace galapagos {

struct UnigramSettings {
  bool byte_level = false;  ///< pieces are read as bytes, which the vocabulary spells as GPT-2 does
  std::optional<std::int32_t> unk_id;
  bool byte_fallback = false;  ///< what is unknown becomes the tokens <0xHH> of its bytes
};

/// SentencePiece's unigram model as the Hugging Face tokenizers have it: of all ways to spell a piece of text
/// by tokens, the one with the highest sum of scores.
class Unigram {
 public:
  using Pieces = std::vector<std::pair<std::string, double>>;

  /// Working memory of encode(), kept between calls to save allocations.
  struct Scratch {
    struct Step {
      double score;
      std::int32_t id;
      std::int32_t from;  ///< -1: not reached yet
    };
    struct Part {
      std::int32_t begin;
      std::int32_t end;
      std::int32_t id;
    };
    std::vector<Step> steps;  ///< the best that ends at each byte
    std::vector<Part> path;   ///< from the end
    std::string spelled;
  };

  /// `pieces` by their ids. InputError where there are none, or the unknown token is not among them.
  Unigram(Pieces pieces, UnigramSettings settings, std::string where);

  /// Appends the ids of one piece of valid UTF-8. InputError for unknown text where there is no unknown
  /// token.
  void encode(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const;

  /// Of pieces that come twice the later id.
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const Pieces& pieces() const { return pieces_; }
  const UnigramSettings& settings() const { return settings_; }

 private:
  struct Node {
    std::uint32_t children = 0;  ///< the first; they lie in a row, by their bytes
    std::uint16_t count = 0;
    std::uint8_t byte = 0;
    std::int32_t id = -1;
  };

  void build_trie();
  const Node* child(const Node& node, std::uint8_t byte) const;
  void find_path(std::string_view piece, Scratch& scratch) const;
  void add_unknown(std::string_view text, std::vector<std::int32_t>& ids) const;
  std::int32_t find(std::string_view token) const;  // -1 where unknown
  std::int32_t unknown() const;

  Pieces pieces_;
  UnigramSettings settings_;
  std::string where_;
  Vocabulary vocabulary_;
  std::vector<Node> trie_;
  std::array<std::int32_t, 256> byte_id_;  // of <0xHH>, or -1
  double unknown_score_ = 0;
};

}  // namespace galapagos
