#pragma once

#include <array>
#include <string>
#include <string_view>

namespace galapagos {

/// GPT-2's printable stand-ins for bytes, as UTF-8: a printable Latin-1 character stands for itself, the
/// others take the code points from 256 on.
const std::array<std::string, 256>& byte_spellings();

/// Every byte of a text by its stand-in.
std::string spell_bytes(std::string_view text);

/// "<0x0A>", as vocabularies with a fallback to bytes spell them.
std::string byte_token(unsigned byte);

}  // namespace galapagos
