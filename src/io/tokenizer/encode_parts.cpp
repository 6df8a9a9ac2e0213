#include "encode_parts.hpp"

#include <algorithm>

namespace galapagos {
namespace {

using Ids = std::vector<std::int32_t>;

void append(EncodedParts& encoded, const Ids& ids, bool response) {
  encoded.ids.insert(encoded.ids.end(), ids.begin(), ids.end());
  encoded.in_loss.insert(encoded.in_loss.end(), ids.size(), response ? 1 : 0);
}

/// How many ids of the whole, the first `known` and those behind them, are those of its beginning alone, of
/// which these are the ones behind the known.
std::size_t shared(const Ids& whole, std::size_t known, const Ids& beginning) {
  const auto from = whole.begin() + static_cast<std::ptrdiff_t>(known);
  return static_cast<std::size_t>(std::mismatch(from, whole.end(), beginning.begin(), beginning.end()).first -
                                  whole.begin());
}

void append_joined(const Tokenizer& tokenizer, const std::vector<TextPart>& document, EncodedParts& encoded) {
  std::string text;
  for (const TextPart& part : document) text += part.text;
  std::vector<TokenCut> cuts;
  const Ids ids = tokenizer.encode(text, cuts);
  std::size_t begin = 0, bytes = 0, passed = 0;
  for (const TextPart& part : document) {
    bytes += part.text.size();
    const bool last = &part == &document.back();
    while (passed < cuts.size() && cuts[passed].end <= bytes) ++passed;
    const TokenCut from = passed == 0 ? TokenCut{} : cuts[passed - 1];
    const auto beginning = std::string_view(text).substr(from.begin, bytes - from.begin);
    const std::size_t end =
        last ? ids.size() : std::max(begin, shared(ids, from.id, tokenizer.encode(beginning)));
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
