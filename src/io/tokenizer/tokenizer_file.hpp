#pragma once

#include "vocabulary.hpp"

#include <string>
#include <utility>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// A tokenizer.json taken apart: the big tables, and everything else as JSON.
struct TokenizerFile {
  Json rest;
  Vocabulary vocabulary;                               ///< of an object
  std::vector<std::pair<std::string, double>> pieces;  ///< of a list: tokens and their scores, by ids
  std::vector<std::pair<std::string, std::string>> merges;
};

/// Parses the text of a tokenizer.json without making JSON values of its tables, which can have a million
/// entries. InputError (naming `where`) where it is not valid JSON, a table holds anything unexpected, or a
/// key comes twice.
TokenizerFile parse_tokenizer_file(const std::string& text, const std::string& where);

}  // namespace galapagos
