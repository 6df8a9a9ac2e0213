#include <algorithm>
#include <utility>

#include <galapagos/io/continued_text.hpp>

namespace galapagos {
namespace {

constexpr std::size_t context_ids = 32;  // of a prompt, that the text behind it can depend on

}  // namespace

ContinuedText::ContinuedText(const TextDecoder& decoder, std::span<const std::int32_t> prompt,
                             std::vector<std::string> words)
    : stream_(decoder), words_(std::move(words)) {
  for (const std::int32_t id : prompt.last(std::min(prompt.size(), context_ids))) stream_.push(id);
  of_prompt_ = stream_.rest();
  for (const std::string& word : words_) longest_word_ = std::max(longest_word_, word.size());
}

std::string ContinuedText::text_from(std::size_t place) const {
  const std::string rest = stream_.rest();
  const bool begins_there =
      (written_.size() < of_prompt_.size() ? written_ + rest : written_).starts_with(of_prompt_);
  if (begins_there) place = std::max(place, of_prompt_.size());
  if (place <= written_.size()) return written_.substr(place) + rest;
  return rest.substr(std::min(rest.size(), place - written_.size()));
}

std::size_t ContinuedText::find(const std::string& text) const {
  std::size_t first = std::string::npos;
  for (const std::string& word : words_) first = std::min(first, text.find(word));
  return first;
}

bool ContinuedText::push(std::int32_t id) {
  const std::size_t before = written_.size();
  written_ += stream_.push(id);
  if (words_.empty()) return false;
  // No word ends before what is new, so that it begins at most its own length before that.
  return find(text_from(before - std::min(before, longest_word_))) != std::string::npos;
}

std::string ContinuedText::text() const {
  const std::string text = text_from(0);
  return text.substr(0, std::min(text.size(), find(text)));
}

}  // namespace galapagos
