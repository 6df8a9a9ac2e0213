#pragma once

#include <string_view>

#include <galapagos/io/tokenizer.hpp>

namespace galapagos::fuzz {

/// Encodes a text and decodes it again, and asks for all that is told of a tokenizer.
void use(const Tokenizer& tokenizer, std::string_view text);

}  // namespace galapagos::fuzz
