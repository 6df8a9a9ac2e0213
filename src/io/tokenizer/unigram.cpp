#include "unigram.hpp"

#include "byte_level.hpp"

#include <algorithm>
#include <climits>
#include <fmt/format.h>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/utf8.hpp>

namespace galapagos {

Unigram::Unigram(Pieces pieces, UnigramSettings settings, std::string where)
    : pieces_(std::move(pieces)), settings_(settings), where_(std::move(where)) {
  if (pieces_.empty()) throw InputError("the vocabulary is empty", where_, "replace the file");
  if (settings_.unk_id && *settings_.unk_id >= std::ssize(pieces_)) {
    throw InputError(fmt::format("unk_id {} is not in the vocabulary", *settings_.unk_id), where_,
                     "replace the file");
  }
  unknown_score_ = pieces_[0].second;
  for (std::size_t id = 0; id < pieces_.size(); ++id) {
    vocabulary_[pieces_[id].first] = static_cast<std::int32_t>(id);
    unknown_score_ = std::min(unknown_score_, pieces_[id].second);
  }
  constexpr double unknown_penalty = 10;
  unknown_score_ -= unknown_penalty;
  for (unsigned byte = 0; byte < 256; ++byte) byte_id_[byte] = find(byte_token(byte));
  build_trie();
}

std::int32_t Unigram::find(std::string_view token) const {
  const auto found = vocabulary_.find(token);
  return found == vocabulary_.end() ? -1 : found->second;
}

/// Level by level: the words that share a beginning lie side by side once they are sorted.
void Unigram::build_trie() {
  std::vector<std::string_view> words;
  words.reserve(vocabulary_.size());
  for (const auto& [word, id] : vocabulary_)
    if (!word.empty()) words.push_back(word);
  std::ranges::sort(words);
  struct Range {
    std::size_t begin;
    std::size_t end;
  };
  std::vector<Range> ranges = {{0, words.size()}};  // of each node
  trie_.emplace_back();
  std::vector<std::size_t> depths = {0};
  for (std::size_t node = 0; node < trie_.size(); ++node) {
    auto [at, end] = ranges[node];
    const std::size_t depth = depths[node];
    if (at < end && words[at].size() == depth && depth > 0) {
      trie_[node].id = vocabulary_.find(words[at])->second;
      ++at;
    }
    trie_[node].children = static_cast<std::uint32_t>(trie_.size());
    while (at < end) {
      const char byte = words[at][depth];
      const std::size_t begin = at;
      while (at < end && words[at][depth] == byte) ++at;
      trie_.push_back({0, 0, static_cast<std::uint8_t>(byte), -1});
      ranges.push_back({begin, at});
      depths.push_back(depth + 1);
      ++trie_[node].count;
    }
  }
}

const Unigram::Node* Unigram::child(const Node& node, std::uint8_t byte) const {
  const auto begin = trie_.begin() + node.children;
  const auto found = std::ranges::lower_bound(begin, begin + node.count, byte, {}, &Node::byte);
  return found != begin + node.count && found->byte == byte ? &*found : nullptr;
}

std::int32_t Unigram::unknown() const {
  if (settings_.unk_id) return *settings_.unk_id;
  throw InputError("a text has a character that the vocabulary cannot spell, and unk_id is not set", where_,
                   "correct the file");
}

void Unigram::find_path(std::string_view piece, Scratch& scratch) const {
  auto& steps = scratch.steps;
  steps.assign(piece.size() + 1, {0, 0, -1});
  const auto offer = [&](std::size_t from, std::size_t end, double score, auto id) {
    auto& step = steps[end];
    score += steps[from].score;
    if (step.from < 0 || score > step.score) step = {score, id(), static_cast<std::int32_t>(from)};
  };
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t length = utf8_length(piece, at);
    bool single = false;  // the character is a token of its own
    const Node* node = trie_.data();
    for (std::size_t end = at; end < piece.size();) {
      node = child(*node, static_cast<std::uint8_t>(piece[end]));
      if (node == nullptr) break;
      ++end;
      if (node->id < 0) continue;
      offer(at, end, pieces_[static_cast<std::size_t>(node->id)].second, [&] { return node->id; });
      single = single || end - at == length;
    }
    if (!single) offer(at, at + length, unknown_score_, [&] { return unknown(); });
    at += length;
  }
}

void Unigram::encode(std::string_view piece, Scratch& scratch, std::vector<std::int32_t>& ids) const {
  if (settings_.byte_level) {
    scratch.spelled = spell_bytes(piece);
    piece = scratch.spelled;
  }
  if (piece.size() > std::size_t{INT_MAX}) {
    throw InputError("document is too long for this tokenizer", where_, "cut the document into shorter ones");
  }
  find_path(piece, scratch);
  scratch.path.clear();
  for (auto end = static_cast<std::int32_t>(piece.size()); end > 0;) {
    const auto& step = scratch.steps[static_cast<std::size_t>(end)];
    const bool fused =
        !scratch.path.empty() && step.id == settings_.unk_id && scratch.path.back().id == step.id;
    if (fused) {
      scratch.path.back().begin = step.from;
    } else {
      scratch.path.push_back({step.from, end, step.id});
    }
    end = step.from;
  }
  for (auto part = scratch.path.rbegin(); part != scratch.path.rend(); ++part) {
    if (part->id != settings_.unk_id) {
      ids.push_back(part->id);
    } else {
      const auto begin = static_cast<std::size_t>(part->begin);
      add_unknown(piece.substr(begin, static_cast<std::size_t>(part->end) - begin), ids);
    }
  }
}

void Unigram::add_unknown(std::string_view text, std::vector<std::int32_t>& ids) const {
  // Unknown tokens that became one can spell a known one.
  if (const std::int32_t id = find(text); id >= 0) return ids.push_back(id);
  const auto id_of = [&](char c) { return byte_id_[static_cast<unsigned char>(c)]; };
  if (settings_.byte_fallback && std::ranges::all_of(text, [&](char c) { return id_of(c) >= 0; })) {
    for (const char c : text) ids.push_back(id_of(c));
  } else {
    ids.push_back(unknown());
  }
}

}  // namespace galapagos
