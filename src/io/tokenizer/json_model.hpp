#pragma once

#include "bpe.hpp"
#include "tokenizer_file.hpp"
#include "unigram.hpp"

#include <string>
#include <variant>

namespace galapagos {

/// What a tokenizer.json makes ids of pieces with.
using JsonModel = std::variant<Bpe, Unigram>;

/// The `model` of a tokenizer.json, whose tables are taken out of `file`. `byte_level`: it is to read pieces
/// as bytes. InputError (naming `where`) for another kind of model, or settings that cannot be followed
/// exactly.
JsonModel make_json_model(TokenizerFile& file, bool byte_level, const std::string& where);

}  // namespace galapagos
