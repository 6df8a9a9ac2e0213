#pragma once

#include <optional>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

// What Tokenizer::definition() says, as far as llama.cpp has the like.
namespace galapagos::gguf {

/// Members of an object; a null counts as absent, as the tokenizer's own reader has it.
Json field(const Json& object, const char* key);
std::string text_of(const Json& object, const char* key, const char* otherwise = "");
bool flag_of(const Json& object, const char* key, bool otherwise);

/// Normalizers, one after the other.
std::vector<Json> steps_of(const Json& normalizer);
bool is_nfc(const Json& step);
/// Whether a pattern is a space.
bool is_space(const Json& pattern);
/// Whether a step puts U+2581 for spaces or in front, as llama.cpp does by itself.
bool writes_spaces(const Json& step);

/// Whether texts are cut into bytes.
bool byte_level(const Json& definition);

/// llama.cpp's name for how a byte-level tokenizer cuts texts (tokenizer.ggml.pre); none where it knows none
/// that cuts so.
std::optional<std::string> pre_tokenizer_name(const Json& definition);

}  // namespace galapagos::gguf
