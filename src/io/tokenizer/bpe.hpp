#pragma once

#include "pair_table.hpp"
#include "vocabulary.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos {

struct BpeSettings {
  bool byte_level = false;     ///< pieces are read as bytes, which the vocabulary spells as GPT-2 does
  bool byte_fallback = false;  ///< an unknown character becomes the tokens <0xHH> of its bytes
  bool fuse_unk = false;       ///< unknown characters in a row become one unknown token
  bool ignore_merges = false;  ///< a piece that is a token as a whole is taken as that
  std::optional<std::string> unk_token;
  std::string continuing_prefix;  ///< of tokens that are not a piece's first
  std::string end_suffix;         ///< of tokens that are a piece's last
};

/// Byte pair encoding: a piece of text begins as characters; the pair that was learned first is merged until
/// no pair is left.
class Bpe {
 public:
  /// Working memory of encode(), kept between calls to save allocations.
  struct Scratch {
    struct Symbol {
      std::int32_t id;  ///< -1 once merged into the symbol before
      std::int32_t previous;
      std::int32_t next;
    };
    struct Candidate {
      std::uint32_t rank;
      std::int32_t at;
      std::int32_t result;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
    std::string spelled;
  };

  Bpe(Vocabulary vocabulary, BpeSettings settings, std::string where);

  /// Merges are added in order of rank. InputError where a part or the whole is not in the vocabulary.
  void add_merge(const std::string& left, const std::string& right);

  /// Appends the ids of one piece of valid UTF-8.
  void encode(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const BpeSettings& settings() const { return settings_; }
  std::size_t merges() const { return next_rank_; }
  /// By their parts' ids; of a pair that came twice only the later counts.
  const PairTable& merge_table() const { return merges_; }

 private:
  struct Unknown {
    bool pending = false;
    std::int32_t id = 0;
  };

  std::int32_t find(std::string_view token) const;  // -1 where unknown
  void encode_word(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void add_affixed(std::string_view piece, std::size_t& at, Unknown& unknown, Scratch& scratch) const;
  void add_character(std::string_view character, std::int32_t known_id, Unknown& unknown,
                     Scratch& scratch) const;
  void merge_all(Scratch& scratch) const;
  void queue_pair(Scratch& scratch, std::int32_t at) const;

  Vocabulary vocabulary_;
  BpeSettings settings_;
  std::string where_;
  PairTable merges_;
  std::uint32_t next_rank_ = 0;
  std::array<std::int32_t, 256> byte_id_;      // of spelling_[byte], or -1
  std::array<std::int32_t, 256> fallback_id_;  // of <0xHH>, or -1
  bool affixed_ = false;                       // tokens have a prefix or suffix by their place
  bool cuts_before_mark_ = false;              // see encode()
};

}  // namespace galapagos
