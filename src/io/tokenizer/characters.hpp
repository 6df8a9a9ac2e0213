#pragma once

#include "../utf8.hpp"

#include <cstddef>
#include <string_view>

#include <galapagos/core/utf8.hpp>

namespace galapagos {

// What the Hugging Face tokenizers ask of a character. Their tables are of several versions of Unicode, and
// so are these; of characters newer than the ICU at hand nothing is known.

bool is_word_character(char32_t code);  ///< \w of Unicode's regular expressions (UTS 18)
bool is_white_space(char32_t code);
bool is_numeric(char32_t code);  ///< Nd, Nl and No
bool is_punctuation(
    char32_t code);           ///< in ASCII all that prints and is no letter or digit, else P of Unicode 8
bool is_mark(char32_t code);  ///< M of Unicode 9
bool is_nonspacing_mark(char32_t code);  ///< Mn of Unicode 8
bool is_control(char32_t code);          ///< Cc, Cf and Co of Unicode 8
bool is_han_ideograph(char32_t code);    ///< in one of the blocks that BERT counts as Chinese

/// In lower case, without a look at its neighbours. U+0130, which would become two characters, stays.
char32_t lower_case(char32_t code);

/// The script by Unicode 9, Hiragana and Katakana as Han; any_script for the space and what had none.
int script_of(char32_t code);
constexpr int any_script = -1;

/// Bytes of the extended grapheme cluster (UAX 29) that begins at text[at], in valid UTF-8.
std::size_t grapheme_length(std::string_view text, std::size_t at);

/// Calls visit(begin, bytes, code point) for each character of valid UTF-8.
template <typename Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    visit(at, length, decode_utf8(text, at, length));
    at += length;
  }
}

}  // namespace galapagos
