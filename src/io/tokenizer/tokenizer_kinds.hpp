#pragma once

#include <memory>

#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

/// A tokenizer.json of the Hugging Face tokenizers package with a BPE model.
std::unique_ptr<Tokenizer> load_json_tokenizer(const std::filesystem::path& file);

/// A SentencePiece tokenizer.model. Symbols such as <s> in a text are text, as SentencePiece has it.
std::unique_ptr<Tokenizer> load_sentencepiece_tokenizer(const std::filesystem::path& file);

}  // namespace galapagos
