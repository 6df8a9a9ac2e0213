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

std::string ContinuedText::all() const {
  std::string text = written_ + stream_.rest();
  if (text.starts_with(of_prompt_)) text.erase(0, of_prompt_.size());
  return text;
}

std::size_t ContinuedText::find(const std::string& text, std::size_t from) const {
  std::size_t first = std::string::npos;
  for (const std::string& word : words_) first = std::min(first, text.find(word, from));
  return first;
}

bool ContinuedText::push(std::int32_t id) {
  const std::size_t before = written_.size();
  written_ += stream_.push(id);
  if (words_.empty()) return false;
  // No word ends before what is new, so that it begins at most its own length before that; what of the prompt
  // may have stood in front only makes the search begin earlier.
  const std::size_t back = longest_word_ + of_prompt_.size();
  return find(all(), before - std::min(before, back)) != std::string::npos;
}

std::string ContinuedText::text() const {
  const std::string text = all();
  return text.substr(0, std::min(text.size(), find(text, 0)));
}

}  // namespace galapagos
