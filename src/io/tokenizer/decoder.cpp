#include "decoder.hpp"

#include "../utf8.hpp"
#include "byte_level.hpp"
#include "characters.hpp"
#include "pattern.hpp"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/utf8.hpp>

namespace galapagos {
namespace {

using Tokens = std::vector<std::string>;
using Step = Decoder::Step;

std::string joined(const Tokens& tokens, std::string_view between = "") {
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) text.append(i == 0 ? "" : between).append(tokens[i]);
  return text;
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  if (what.empty()) return;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

/// The bytes of a token of stand-ins; itself where any character of it stands for none.
std::string bytes_of(const std::string& token) {
  static const std::unordered_map<std::string_view, char> bytes = [] {
    std::unordered_map<std::string_view, char> all;
    for (std::size_t byte = 0; byte < 256; ++byte)
      all.emplace(byte_spellings()[byte], static_cast<char>(byte));
    return all;
  }();
  std::string out;
  for (std::size_t at = 0; at < token.size();) {
    const std::size_t length = utf8_length(token, at);
    const auto found = bytes.find(std::string_view(token).substr(at, length));
    if (length == 0 || found == bytes.end()) return token;
    out += found->second;
    at += length;
  }
  return out;
}

void byte_level(Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += bytes_of(token);
  tokens = {replace_invalid_utf8(bytes)};
}

/// Runs of tokens <0xHH> become the characters that they spell, or one U+FFFD each where they spell none.
void byte_fallback(Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto finish = [&] {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = byte_of_token(token); byte >= 0) {
      bytes += static_cast<char>(byte);
    } else {
      finish();
      out.push_back(std::move(token));
    }
  }
  finish();
  tokens = std::move(out);
}

/// Takes up to so many of a character from the front and from the end of every token.
Step strip(const std::string& content, std::int64_t start, std::int64_t stop) {
  return [=](Tokens& tokens) {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::int64_t i = 0; i < start && rest.starts_with(content); ++i)
        rest.remove_prefix(content.size());
      for (std::int64_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      token = std::string(rest);
    }
  };
}

Step replace(Pattern pattern, const std::string& content) {
  return [pattern = std::make_shared<Pattern>(std::move(pattern)), content](Tokens& tokens) {
    for (std::string& token : tokens) {
      std::string out;
      pattern->for_each_part(token, [&](std::size_t begin, std::size_t end, bool matches) {
        out += matches ? content : token.substr(begin, end - begin);
      });
      token = std::move(out);
    }
  };
}

/// Marks become spaces, those of the first token nothing where a text is given a mark in front.
Step metaspace(const std::string& mark, bool prepended) {
  return [=](Tokens& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], mark, i == 0 && prepended ? "" : " ");
  };
}

/// Words end where a token ends with the suffix.
Step word_ends(const std::string& suffix) {
  return [=](Tokens& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
  };
}

/// A single character.
std::string character(const Json& definition, const char* key, const std::string& where) {
  std::string text = json_string(definition, key, where);
  if (!text.empty() && utf8_length(text, 0) == text.size()) return text;
  throw InputError(std::string("the decoder's '") + key + "' is no single character", where,
                   "replace the file");
}

bool prepends(const Json& definition, const std::string& where) {
  if (!json_absent(definition, "prepend_scheme"))
    return json_string(definition, "prepend_scheme", where) != "never";
  return json_absent(definition, "add_prefix_space") || json_bool(definition, "add_prefix_space", where);
}

}  // namespace

int byte_of_token(const std::string& token) {
  constexpr std::size_t length = 6;
  const auto digit = [&](std::size_t at) {
    return std::isxdigit(static_cast<unsigned char>(token[at])) != 0;
  };
  if (token.size() != length || !token.starts_with("<0x") || token.back() != '>' || !digit(3) || !digit(4))
    return -1;
  return std::stoi(token.substr(3, 2), nullptr, 16);
}

Decoder::Decoder(const Json& definition, const std::string& where) : spaced_(definition.is_null()) {
  if (!spaced_) add(definition, where);
}

void Decoder::add(const Json& definition, const std::string& where) {
  const std::string type = json_string(definition, "type", where);
  constexpr std::int64_t most = 1 << 20;
  if (type == "ByteLevel") {
    steps_.emplace_back(byte_level);
  } else if (type == "ByteFallback") {
    steps_.emplace_back(byte_fallback);
  } else if (type == "Fuse") {
    steps_.emplace_back([](Tokens& tokens) { tokens = {joined(tokens)}; });
  } else if (type == "Replace") {
    steps_.push_back(replace(read_pattern(definition, "decoder Replace", where),
                             json_string(definition, "content", where)));
  } else if (type == "Strip") {
    steps_.push_back(strip(character(definition, "content", where),
                           json_integer(definition, "start", 0, most, where),
                           json_integer(definition, "stop", 0, most, where)));
  } else if (type == "Metaspace") {
    steps_.push_back(metaspace(character(definition, "replacement", where), prepends(definition, where)));
  } else if (type == "BPEDecoder") {
    steps_.push_back(word_ends(json_string(definition, "suffix", where)));
  } else if (type == "Sequence") {
    if (json_absent(definition, "decoders") || !definition["decoders"].is_array())
      throw InputError("decoder Sequence has no list of decoders", where, "replace the file");
    for (const Json& step : definition["decoders"]) add(step, where);
  } else {
    throw InputError("decoder '" + printable(type) + "' is not supported", where,
                     "take the ids, and decode them elsewhere");
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  for (const Step& step : steps_) step(tokens);
  return joined(tokens, spaced_ ? " " : "");
}

}  // namespace galapagos
