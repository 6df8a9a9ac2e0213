#pragma once

#include <cstddef>
#include <string_view>

namespace galapagos {

/// Bytes of the well-formed UTF-8 sequence that starts at text[at] (1 to 4; no surrogates, no overlong
/// forms), or 0 where none does.
std::size_t utf8_length(std::string_view text, std::size_t at);

}  // namespace galapagos
