#include "bpe.hpp"

#include "byte_level.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/utf8.hpp>

namespace galapagos {
namespace {

/// SentencePiece's mark for a space.
constexpr std::string_view mark = "\xe2\x96\x81";

/// The heap's top is the pair with the lowest rank, of those the leftmost.
bool comes_later(const Bpe::Scratch::Candidate& a, const Bpe::Scratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, BpeSettings settings, std::string where)
    : vocabulary_(std::move(vocabulary)), settings_(std::move(settings)), where_(std::move(where)) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_id_[byte] = find(byte_spellings()[byte]);
    fallback_id_[byte] = find(byte_token(byte));
  }
  // Without an unknown token characters can vanish, and with them what kept two marks apart.
  affixed_ = !settings_.continuing_prefix.empty() || !settings_.end_suffix.empty();
  cuts_before_mark_ = !settings_.byte_level && !settings_.ignore_merges && !affixed_ && settings_.unk_token &&
                      find(mark) >= 0;
}

std::int32_t Bpe::find(std::string_view token) const {
  const auto found = vocabulary_.find(token);
  return found == vocabulary_.end() ? -1 : found->second;
}

void Bpe::add_merge(const std::string& left, const std::string& right) {
  const auto id = [&](const std::string& token) {
    const std::int32_t found = find(token);
    if (found < 0) {
      throw InputError(
          fmt::format("merge {} ('{}' and '{}') needs the token '{}', which the vocabulary lacks", next_rank_,
                      printable(left), printable(right), printable(token)),
          where_, "replace the file");
    }
    return found;
  };
  if (left.empty() || right.empty()) {
    throw InputError(fmt::format("merge {} has an empty part", next_rank_), where_, "replace the file");
  }
  if (!right.starts_with(settings_.continuing_prefix)) {
    throw InputError(
        fmt::format("merge {}: '{}' lacks the continuing_subword_prefix", next_rank_, printable(right)),
        where_, "replace the file");
  }
  const std::string whole = left + right.substr(settings_.continuing_prefix.size());
  merges_.insert({id(left), id(right), next_rank_, id(whole)});
  ++next_rank_;
  if (right.starts_with(mark) && !left.ends_with(mark)) cuts_before_mark_ = false;
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const {
  if (!cuts_before_mark_) return encode_word(piece, scratch, ids);
  // No merge joins a mark to a character before it, so whole texts (SentencePiece has no words) can be
  // merged word by word: the same ids, sooner and in little memory.
  std::size_t done = 0;
  for (std::size_t at = piece.find(mark); at != std::string_view::npos;
       at = piece.find(mark, at + mark.size())) {
    if (at == 0 || piece.substr(0, at).ends_with(mark)) continue;
    encode_word(piece.substr(done, at - done), scratch, ids);
    done = at;
  }
  encode_word(piece.substr(done), scratch, ids);
}

void Bpe::encode_word(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const {
  if (piece.empty()) return;
  const auto& spellings = byte_spellings();
  if (settings_.ignore_merges) {
    std::string_view whole = piece;
    if (settings_.byte_level) {
      scratch.spelled.clear();
      for (const char c : piece) scratch.spelled += spellings[static_cast<unsigned char>(c)];
      whole = scratch.spelled;
    }
    if (const std::int32_t id = find(whole); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  scratch.symbols.clear();
  Unknown unknown;
  for (std::size_t at = 0; at < piece.size();) {
    if (affixed_) {
      add_affixed(piece, at, unknown, scratch);
    } else if (settings_.byte_level) {
      const auto byte = static_cast<unsigned char>(piece[at++]);
      add_character(spellings[byte], byte_id_[byte], unknown, scratch);
    } else {
      const std::string_view character = piece.substr(at, utf8_length(piece, at));
      add_character(character, find(character), unknown, scratch);
      at += character.size();
    }
  }
  if (unknown.pending) scratch.symbols.push_back({unknown.id, 0, 0});
  merge_all(scratch);
  for (const auto& symbol : scratch.symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

void Bpe::add_affixed(std::string_view piece, std::size_t& at, Unknown& unknown, Scratch& scratch) const {
  const std::size_t length = settings_.byte_level ? 1 : utf8_length(piece, at);
  std::string character = at == 0 ? "" : settings_.continuing_prefix;
  if (settings_.byte_level) {
    character += byte_spellings()[static_cast<unsigned char>(piece[at])];
  } else {
    character += piece.substr(at, length);
  }
  at += length;
  if (at == piece.size()) character += settings_.end_suffix;
  add_character(character, find(character), unknown, scratch);
}

void Bpe::add_character(std::string_view character, std::int32_t known_id, Unknown& unknown,
                        Scratch& scratch) const {
  const auto push = [&](std::int32_t id) { scratch.symbols.push_back({id, 0, 0}); };
  if (known_id >= 0) {
    if (std::exchange(unknown.pending, false)) push(unknown.id);
    push(known_id);
    return;
  }
  if (settings_.byte_fallback) {
    const auto id_of = [&](char c) { return fallback_id_[static_cast<unsigned char>(c)]; };
    // An unknown token that is pending stays so, behind these bytes: as in the original.
    if (std::all_of(character.begin(), character.end(), [&](char c) { return id_of(c) >= 0; })) {
      for (const char c : character) push(id_of(c));
      return;
    }
  }
  if (!settings_.unk_token) return;
  if (unknown.pending && settings_.fuse_unk) return;
  const std::int32_t id = find(*settings_.unk_token);
  if (id < 0) {
    throw InputError("the unknown token '" + printable(*settings_.unk_token) + "' is not in the vocabulary",
                     where_, "replace the file");
  }
  if (unknown.pending) push(unknown.id);
  unknown = {true, id};
}

void Bpe::queue_pair(Scratch& scratch, std::int32_t at) const {
  const auto& left = scratch.symbols[static_cast<std::size_t>(at)];
  const auto& right = scratch.symbols[static_cast<std::size_t>(left.next)];
  const PairTable::Entry* merge = merges_.find(left.id, right.id);
  if (merge == nullptr) return;
  scratch.queue.push_back({merge->rank, at, merge->result});
  std::push_heap(scratch.queue.begin(), scratch.queue.end(), comes_later);
}

void Bpe::merge_all(Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  if (symbols.size() > std::size_t{INT32_MAX}) {
    throw InputError("document is too long for this tokenizer", where_, "cut the document into shorter ones");
  }
  const auto count = static_cast<std::int32_t>(symbols.size());
  queue.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    symbols[static_cast<std::size_t>(i)].previous = i - 1;
    symbols[static_cast<std::size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  for (std::int32_t i = 0; i + 1 < count; ++i) queue_pair(scratch, i);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), comes_later);
    const auto top = queue.back();
    queue.pop_back();
    auto& left = symbols[static_cast<std::size_t>(top.at)];
    if (left.id < 0 || left.next < 0) continue;
    auto& right = symbols[static_cast<std::size_t>(left.next)];
    const PairTable::Entry* merge = merges_.find(left.id, right.id);
    if (merge == nullptr || merge->result != top.result) continue;  // the pair has changed since
    left.id = top.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) {
      symbols[static_cast<std::size_t>(left.next)].previous = top.at;
      queue_pair(scratch, top.at);
    }
    if (left.previous >= 0) queue_pair(scratch, left.previous);
  }
}

}  // namespace galapagos
