#pragma once

#include <filesystem>
#include <string_view>

#include <galapagos/core/json.hpp>

namespace galapagos {

// Tokenizers that models come with and that are not read: InputErrors that say what they are and what to do.

/// Of a folder that has neither tokenizer.json nor tokenizer.model. Does nothing where there is none that is
/// known.
void refuse_foreign_folder(const std::filesystem::path& folder);
/// Of a file by its name. Does nothing for another name.
void refuse_foreign_name(const std::filesystem::path& file);
/// tiktoken's lines "base64 rank", which some models call tokenizer.model. Does nothing for other content.
void refuse_tiktoken(std::string_view content, const std::filesystem::path& file);
/// Mistral's tekken.json, and the vocab.json of older models. Does nothing for other documents.
void refuse_foreign_json(const Json& document, const std::filesystem::path& file);

}  // namespace galapagos
