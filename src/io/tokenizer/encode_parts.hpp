#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <galapagos/io/document.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

struct EncodedParts {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> in_loss;  ///< of each id whether it is of a response
};

/// The ids of a document, behind `bos`, if given and not there already. Parts that are joined are tokenized
/// as the one text that they make up, and a token that two share belongs to the later one; others each by
/// itself. No ids where the document has none.
EncodedParts encode_parts(const Tokenizer& tokenizer, const std::vector<TextPart>& document,
                          std::optional<std::int32_t> bos);

}  // namespace galapagos
