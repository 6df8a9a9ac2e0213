#pragma once

#include <filesystem>
#include <string_view>

namespace galapagos {

enum class TextKind {
  whole,  ///< one text
  lines,  ///< a JSON record on each line
  json,   ///< JSON records, in a list or one after the other, however they are laid out
};

/// How many bytes of a file text_kind() looks at, where it has as many.
constexpr std::size_t text_head_bytes = 4096;

/// By a file's name, in any case and whatever it says of compression, or else by its first bytes,
/// decompressed. InputError where neither says, and where the bytes are no UTF-8 text at all: it names what
/// they are and what makes text of them.
TextKind text_kind(const std::filesystem::path& path, std::string_view head);

/// Whether a file that begins so is an HTML page.
bool is_web_page(std::string_view head);

/// Whether a file's name says that it is compressed.
bool named_compressed(const std::filesystem::path& path);

}  // namespace galapagos
