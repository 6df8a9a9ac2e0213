#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/io/text_decoder.hpp>

namespace galapagos {

/// The text that a model writes behind a prompt, as it is when it stands there (some tokenizers drop the
/// space in front of a text that stands alone), up to the first of some words.
class ContinuedText {
 public:
  /// The words are not empty. The decoder must outlive this.
  ContinuedText(const TextDecoder& decoder, std::span<const std::int32_t> prompt,
                std::vector<std::string> words);

  /// Whether there is one of the words in the text once it has one more token.
  bool push(std::int32_t id);
  /// What is before the first of them.
  std::string text() const;

 private:
  /// What is written behind that place, and is none of the prompt's.
  std::string text_from(std::size_t place) const;
  /// The place of the first word; npos where there is none.
  std::size_t find(const std::string& text) const;

  TextStream stream_;
  std::vector<std::string> words_;
  std::size_t longest_word_ = 0;
  std::string of_prompt_;  // text of the prompt that is not sure before there is more
  std::string written_;
};

}  // namespace galapagos
