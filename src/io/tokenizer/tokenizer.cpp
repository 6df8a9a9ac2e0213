#include "../utf8.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {
namespace {

void check_length(std::string_view text) {
  if (text.size() <= max_text_bytes) return;
  throw InputError(fmt::format("a document of {} is too long", human_bytes(text.size())), "tokenizer",
                   "cut it into documents of at most " + human_bytes(max_text_bytes));
}

}  // namespace

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  check_length(text);
  return is_valid_utf8(text) ? encode_valid(text) : encode_valid(replace_invalid_utf8(text));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, std::vector<TokenCut>& cuts) const {
  check_length(text);
  cuts.clear();
  return is_valid_utf8(text) ? encode_cut(text, cuts) : encode(text);
}

std::vector<std::int32_t> Tokenizer::encode_cut(std::string_view text, std::vector<TokenCut>&) const {
  return encode_valid(text);
}

}  // namespace galapagos
