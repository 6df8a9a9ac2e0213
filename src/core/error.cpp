#include <cstdio>

#include <galapagos/core/error.hpp>
#include <galapagos/core/utf8.hpp>

namespace galapagos {
namespace {

std::string one_line(const std::string& what, const std::string& where, const std::string& remedy) {
  std::string line = printable(what, 2000);
  if (!where.empty()) line += " [" + printable(where, 2000) + "]";
  if (!remedy.empty()) line += "; " + printable(remedy, 2000);
  return line;
}

}  // namespace

Error::Error(ExitCode code, const std::string& what, const std::string& where, const std::string& remedy)
    : std::runtime_error(one_line(what, where, remedy)), code_(code) {}

std::string printable(const std::string& text, std::size_t limit) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (out.size() >= limit) return out + "...";
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = utf8_length(text, i);
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      out += escaped;
      ++i;
    } else {
      out.append(text, i, length);
      i += length;
    }
  }
  return out;
}

}  // namespace galapagos
