#include "encode_parts.hpp"

#include <algorithm>

namespace galapagos {
namespace {

using Ids = std::vector<std::int32_t>;

void append(EncodedParts& encoded, const Ids& ids, bool response) {
  encoded.ids.insert(encoded.ids.end(), ids.begin(), ids.end());
  encoded.in_loss.insert(encoded.in_loss.end(), ids.size(), response ? 1 : 0);
}

/// How many ids of the whole are those of its beginning alone.
std::size_t shared(const Ids& whole, const Ids& beginning) {
  return static_cast<std::size_t>(
      std::mismatch(whole.begin(), whole.end(), beginning.begin(), beginning.end()).first - whole.begin());
}

void append_joined(const Tokenizer& tokenizer, const std::vector<TextPart>& document, EncodedParts& encoded) {
  std::string text;
  for (const TextPart& part : document) text += part.text;
  const Ids ids = tokenizer.encode(text);
  std::size_t begin = 0, bytes = 0;
  for (const TextPart& part : document) {
    bytes += part.text.size();
    const bool last = &part == &document.back();
    const std::size_t end =
        last ? ids.size()
             : std::max(begin, shared(ids, tokenizer.encode(std::string_view(text).substr(0, bytes))));
    append(
        encoded,
        Ids(ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + static_cast<std::ptrdiff_t>(end)),
        part.response);
    begin = end;
  }
}

}  // namespace

EncodedParts encode_parts(const Tokenizer& tokenizer, const std::vector<TextPart>& document,
                          std::optional<std::int32_t> bos) {
  EncodedParts encoded;
  const bool joined = !document.empty() && document.front().joined;
  if (joined) {
    append_joined(tokenizer, document, encoded);
  } else {
    for (const TextPart& part : document) append(encoded, tokenizer.encode(part.text), part.response);
  }
  const bool has_bos = joined && !encoded.ids.empty() && encoded.ids.front() == bos;
  if (bos && !encoded.ids.empty() && !has_bos) {
    encoded.ids.insert(encoded.ids.begin(), *bos);
    encoded.in_loss.insert(encoded.in_loss.begin(), 0);
  }
  return encoded;
}

}  // namespace galapagos
