#include "utf8.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  if (text.size() > max_text_bytes) {
    throw InputError(fmt::format("a document of {} is too long", human_bytes(text.size())), "tokenizer",
                     "cut it into documents of at most " + human_bytes(max_text_bytes));
  }
  return is_valid_utf8(text) ? encode_valid(text) : encode_valid(replace_invalid_utf8(text));
}

}  // namespace galapagos
