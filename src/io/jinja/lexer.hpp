#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos::jinja {

struct LexedToken {
  enum class Kind : std::uint8_t {
    data,
    block_begin,
    block_end,
    print_begin,
    print_end,
    name,
    text,
    integer,
    real,
    op,
    end
  };
  Kind kind = Kind::end;
  std::string text;  ///< what it says, texts without quotes and with their escapes resolved
  int line = 1;
};

/// Cuts a template into tokens as Jinja2 does with transformers' settings: a line break behind a block or
/// comment goes (trim_blocks), and so does the white space in front of one that begins its line
/// (lstrip_blocks); one line break at the end of the template goes. Throws a Fault for what is not Jinja.
std::vector<LexedToken> lex(std::string_view source);

}  // namespace galapagos::jinja
