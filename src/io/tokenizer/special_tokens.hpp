#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

/// The id of a token, where it is in a vocabulary.
using FindToken = std::function<std::optional<std::int32_t>(const std::string& token)>;

/// The bos_token of the tokenizer_config.json beside `file`, where there is one.
std::optional<std::string> configured_bos_token(const std::filesystem::path& file);

/// As Tokenizer::special_tokens(). `own`: what the tokenizer's `file` says itself; `ids`: the size of its
/// vocabulary.
SpecialTokens configured_special_tokens(const std::filesystem::path& file, const SpecialTokens& own,
                                        std::int32_t ids, const FindToken& find);

}  // namespace galapagos
