#include "precompiled.hpp"

#include "characters.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr std::size_t longest_grapheme = 5;  // bytes

/// Nothing where it is not base64.
std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(static_cast<unsigned char>(bits >> count));
  }
  return out;
}

std::uint32_t number_at(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

// A unit of the double array (Darts-clone).
bool has_leaf(std::uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
std::uint32_t label(std::uint32_t unit) {
  return unit & (std::uint32_t{1} << 31 | 0xff);
}
std::uint32_t offset(std::uint32_t unit) {
  return unit >> 10 << ((unit & std::uint32_t{1} << 9) >> 6);
}
std::uint32_t value(std::uint32_t unit) {
  return unit & ((std::uint32_t{1} << 31) - 1);
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// The output, and how much of it stems from the input's first `head` bytes. The tokenizers keep with each
/// character written how many it stands for: 1 for one of the input, less for one that is put in behind, more
/// where others are dropped behind it. What is dropped in front of all is not counted, so that the rest moves
/// to its place.
class Output {
 public:
  Output(std::string_view in, std::size_t head) : in_(in), head_(head) {}

  void replace(std::string_view old, std::string_view next) {
    const auto before = static_cast<std::ptrdiff_t>(characters(old));
    const auto after = static_cast<std::ptrdiff_t>(characters(next));
    std::ptrdiff_t place = 0;
    for_each_character(next, [&](std::size_t begin, std::size_t length, char32_t) {
      settle();
      text_.append(next, begin, length);
      pending_ = true;
      stands_for_ = place++ < before ? 1 : 0;
    });
    if (after < before) stands_for_ += before - after;
  }

  std::string take(std::size_t& head) {
    settle();
    head = new_head_;
    return std::move(text_);
  }

 private:
  /// Counts the last character, now that nothing behind it can change what it stands for.
  void settle() {
    if (!std::exchange(pending_, false)) return;
    const std::size_t from = stands_for_ > 0 || at_ == 0 ? at_ : at_ - 1;
    if (from < head_) new_head_ = text_.size();
    for (; stands_for_ > 0 && at_ < in_.size(); --stands_for_) at_ += utf8_length(in_, at_);
    stands_for_ = 0;
  }

  std::string_view in_;
  std::size_t head_;
  std::size_t at_ = 0;  // in the input
  std::size_t new_head_ = 0;
  bool pending_ = false;
  std::ptrdiff_t stands_for_ = 0;
  std::string text_;
};

}  // namespace

Precompiled::Precompiled(std::string_view charsmap, std::string where) : where_(std::move(where)) {
  const auto decoded = decode_base64(charsmap);
  if (!decoded || decoded->size() < 8) fail();
  const std::size_t bytes = number_at(*decoded, 0);
  if (bytes == 0 || bytes % 4 != 0 || bytes > decoded->size() - 4) fail();
  for (std::size_t at = 4; at < 4 + bytes; at += 4) trie_.push_back(number_at(*decoded, at));
  replacements_ = decoded->substr(4 + bytes);
  if (!is_valid_utf8(replacements_)) fail();
}

void Precompiled::fail() const {
  throw InputError("normalizer Precompiled: a damaged precompiled_charsmap", where_, "replace the file");
}

std::optional<std::string_view> Precompiled::replacement(std::string_view text) const {
  const auto unit = [&](std::size_t at) {
    if (at >= trie_.size()) fail();
    return trie_[at];
  };
  std::size_t node = offset(unit(0));
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    node ^= byte;
    const std::uint32_t found = unit(node);
    if (label(found) != byte) return std::nullopt;
    node ^= offset(found);
    if (!has_leaf(found)) continue;
    const std::size_t begin = value(unit(node));
    if (begin > replacements_.size()) fail();
    const std::string_view rest = std::string_view(replacements_).substr(begin);
    const std::string_view taken = rest.substr(0, rest.find('\0'));
    if (!is_valid_utf8(taken)) fail();
    return taken;
  }
  return std::nullopt;
}

std::string Precompiled::apply(std::string_view text, std::size_t& head) const {
  Output out(text, head);
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view grapheme = text.substr(at, grapheme_length(text, at));
    at += grapheme.size();
    if (grapheme.size() <= longest_grapheme) {
      if (const auto whole = replacement(grapheme)) {
        out.replace(grapheme, *whole);
        continue;
      }
    }
    for_each_character(grapheme, [&](std::size_t begin, std::size_t length, char32_t) {
      const std::string_view character = grapheme.substr(begin, length);
      out.replace(character, replacement(character).value_or(character));
    });
  }
  return out.take(head);
}

}  // namespace galapagos
