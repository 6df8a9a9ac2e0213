#pragma once

#include "file.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <galapagos/io/tokenizer.hpp>

namespace galapagos::gguf {

/// llama.cpp's name for how a byte-level tokenizer cuts texts (tokenizer.ggml.pre), by what `definition`
/// (Tokenizer::definition()) says; none where it knows none that cuts so.
std::optional<std::string> pre_tokenizer_name(const Json& definition);

/// The scores by which llama.cpp merges, of tokens of which `merges` makes some: the sooner two tokens are
/// merged the higher what they make; 0 for what nothing makes.
std::vector<float> scores_of(const std::vector<Token>& tokens, const std::vector<TokenMerge>& merges);

/// Sets what a file says of the tokenizer of a model's `folder` with so many ids: its tokens, merges or
/// scores, special tokens and chat template. `pre`: the name to give to its way of cutting texts, where it is
/// not to be found, or "none" for a file without a tokenizer. InputError where llama.cpp has no such
/// tokenizer.
void describe_tokenizer(Metadata& metadata, const std::filesystem::path& folder, std::int64_t ids,
                        const std::string& pre);

}  // namespace galapagos::gguf
