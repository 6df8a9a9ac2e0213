#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/roff.hpp>
#include <galapagos/core/version.hpp>

namespace galapagos {
namespace {

std::string escaped(const std::string& text, bool keep_hyphens) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      case '-':
        out += keep_hyphens ? "\\-" : "-";
        break;
      default:
        out += c;
    }
  }
  return out;
}

bool is_typed(const std::string& word) {
  const std::size_t first = word.find_first_not_of("([\"'");
  return first != std::string::npos && (word[first] == '-' || (word[first] >= '0' && word[first] <= '9'));
}

}  // namespace

std::string roff(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    out += escaped(word, is_typed(word)) + (end < text.size() ? " " : "");
    at = end + 1;
  }
  return out.starts_with('.') ? "\\&" + out : out;  // no request
}

std::string roff_name(const std::string& name) {
  return escaped(name, true);
}

std::string roff_title(const std::string& name) {
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return fmt::format(".TH {} 1 \"\" \"galapagos {}\" \"Galapagos\"\n", roff_name(upper), version());
}

}  // namespace galapagos
