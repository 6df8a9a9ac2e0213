#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

/// The kinds of a SentencePiece model's pieces, by their ids, out of the serialised model: SentencePiece's
/// own library does not tell those that a user has defined. InputError (naming `where`) where it is damaged.
std::vector<TokenKind> sentencepiece_kinds(std::string_view model, const std::string& where);

/// As Tokenizer::definition(), in the words of a tokenizer.json as far as it has them: the model's type
/// ("Unigram" where nothing says another), a normalizer of type "Precompiled" where it has rules for
/// characters, and whether it "strips" spaces.
Json sentencepiece_definition(std::string_view model, const std::string& where);

}  // namespace galapagos
