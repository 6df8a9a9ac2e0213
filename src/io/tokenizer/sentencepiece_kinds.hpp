#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

/// The kinds of a SentencePiece model's pieces, by their ids, out of the serialised model: SentencePiece's
/// own library does not tell those that a user has defined. InputError (naming `where`) where it is damaged.
std::vector<TokenKind> sentencepiece_kinds(std::string_view model, const std::string& where);

}  // namespace galapagos
