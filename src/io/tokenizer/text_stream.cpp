#include <algorithm>
#include <string_view>

#include <galapagos/io/text_decoder.hpp>

namespace galapagos {
namespace {

constexpr std::size_t longest_window = 64, kept_of_window = 8;
constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD, also of what is not yet a character

}  // namespace

std::string TextStream::push(std::int32_t id) {
  const TokenEnd end = decoder_.end_of(id);
  if (end == TokenEnd::none) return "";
  window_.push_back(id);
  if (end == TokenEnd::open) return "";
  const std::string text = decoder_.decode(window_);
  if (text.size() < given_ || text.ends_with(replacement)) return "";
  const std::string piece = text.substr(given_);
  given_ = text.size();
  if (window_.size() < longest_window) return piece;
  // What the first token of a text is treated by must have had its effect on what is kept, or on nothing.
  const std::vector<std::int32_t> kept(window_.end() - kept_of_window, window_.end());
  const std::string tail = decoder_.decode(kept);
  if (tail.empty() || !text.ends_with(tail)) return piece;
  window_ = kept;
  given_ = tail.size();
  return piece;
}

std::string TextStream::rest() const {
  const std::string text = decoder_.decode(window_);
  return text.substr(std::min(given_, text.size()));
}

}  // namespace galapagos
