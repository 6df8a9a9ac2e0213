#pragma once

#include "file.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos::gguf {

/// The scores by which llama.cpp merges, of tokens of which `merges` makes some: the sooner two tokens are
/// merged the higher what they make; far less for what nothing makes.
std::vector<float> scores_of(const std::vector<Token>& tokens, const std::vector<TokenMerge>& merges);

/// Sets what a file says of the tokenizer of a model's `folder`: its tokens, merges or
/// scores, special tokens and chat template. `pre`: the name to give to its way of cutting texts, where it is
/// not to be found, or "none" for a file without a tokenizer. InputError where llama.cpp has no such
/// tokenizer.
void describe_tokenizer(Metadata& metadata, const std::filesystem::path& folder, const HfConfig& config,
                        const std::string& pre);

}  // namespace galapagos::gguf
