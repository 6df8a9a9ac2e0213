#include "tokenizer_use.hpp"

#include <stdexcept>

#include <galapagos/core/error.hpp>
#include <galapagos/io/text_decoder.hpp>

namespace galapagos::fuzz {
namespace {

/// What is refused of it does not keep from what comes after.
template <typename Ask>
void ask(const Ask& ask) {
  try {
    ask();
  } catch (const Error&) {
  }
}

}  // namespace

void use(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> ids;
  ask([&] { ids = tokenizer.encode(text); });
  for (const std::int32_t id : ids)
    if (id < 0 || id >= tokenizer.vocab_size()) throw std::logic_error("an id outside the vocabulary");
  ask([&] { tokenizer.vocabulary(); });
  ask([&] { tokenizer.merges(); });
  ask([&] { tokenizer.scores(); });
  ask([&] { tokenizer.special_tokens(); });
  ask([&] { tokenizer.definition().dump(); });
  for (const bool special : {false, true}) {
    ask([&] {
      const auto decoder = tokenizer.decoder(special);
      TextStream stream(*decoder);
      std::string pieces;
      for (const std::int32_t id : ids) pieces += stream.push(id);
      if (pieces + stream.rest() != decoder->decode(ids)) throw std::logic_error("pieces are another text");
    });
  }
}

}  // namespace galapagos::fuzz
