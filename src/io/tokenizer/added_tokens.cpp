#include "added_tokens.hpp"

#include "characters.hpp"

#include <algorithm>

namespace galapagos {
namespace {

std::size_t bytes_of(char32_t code) {
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

}  // namespace

void AddedTokenMatcher::add(const std::string& pattern, const AddedToken& token) {
  if (pattern.empty()) return;
  first_bytes_.set(static_cast<unsigned char>(pattern[0]));
  std::uint32_t node = 0;
  for (const char c : pattern) {
    const std::uint64_t edge = (std::uint64_t{node} << 8) | static_cast<unsigned char>(c);
    const auto [found, fresh] = edges_.emplace(edge, static_cast<std::uint32_t>(token_of_node_.size()));
    if (fresh) token_of_node_.push_back(-1);
    node = found->second;
  }
  if (token_of_node_[node] >= 0) return;
  token_of_node_[node] = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(token);
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::longest_match(std::string_view text,
                                                                         std::size_t at) const {
  std::optional<Match> best;
  std::uint32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto edge = edges_.find((std::uint64_t{node} << 8) | static_cast<unsigned char>(text[at]));
    if (edge == edges_.end()) break;
    node = edge->second;
    const std::int32_t token = token_of_node_[node];
    if (token >= 0) best = Match{at + 1, &tokens_[static_cast<std::size_t>(token)]};
  }
  return best;
}

std::vector<AddedTokenMatcher::Piece> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto match =
        first_bytes_[static_cast<unsigned char>(text[at])] ? longest_match(text, at) : std::nullopt;
    if (!match) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = match->end;
    at = end;
    if (match->token->single_word) {
      const bool joined_left = begin > 0 && is_word_character(last_character(text.substr(0, begin)));
      const bool joined_right = end < text.size() && is_word_character(first_character(text.substr(end)));
      if (joined_left || joined_right) continue;
    }
    if (match->token->lstrip) {
      while (begin > done) {
        const char32_t before = last_character(text.substr(0, begin));
        if (!is_white_space(before)) break;
        begin -= bytes_of(before);
      }
      begin = std::max(begin, done);
    }
    if (match->token->rstrip) {
      while (end < text.size()) {
        const char32_t after = first_character(text.substr(end));
        if (!is_white_space(after)) break;
        end += bytes_of(after);
      }
    }
    if (done < begin) pieces.push_back({done, begin, std::nullopt});
    pieces.push_back({begin, end, match->token->id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({done, text.size(), std::nullopt});
  return pieces;
}

}  // namespace galapagos
