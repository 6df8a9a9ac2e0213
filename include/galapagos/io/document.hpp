#pragma once

#include <cstdint>
#include <string>

namespace galapagos {

/// A piece of a document, and whether a model that is trained on it alone is to learn to write it.
struct TextPart {
  std::string text;
  bool response = false;
  bool joined = false;  ///< tokenized as one text with the others, not by itself
};

/// What a document's text consists of, and what of it had to be replaced by U+FFFD.
struct TextCounts {
  std::uint64_t characters = 0;
  std::uint64_t invalid = 0;     ///< maximal parts that are not UTF-8
  std::uint64_t surrogates = 0;  ///< escapes of half a character
  std::uint64_t bare_chats = 0;  ///< conversations taken without a template, as the model has none
  std::uint64_t zeros = 0;       ///< zero bytes in plain text, as a crash leaves them; they stay

  std::uint64_t replaced() const { return invalid + surrogates; }
};

}  // namespace galapagos
