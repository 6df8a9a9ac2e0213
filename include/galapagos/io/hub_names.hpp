#pragma once

#include <filesystem>
#include <string>

// Names of the Hugging Face hub given where a folder or a file is asked for: nothing is downloaded here.
namespace galapagos {

/// What to do where there is no folder `name`: for one like "meta-llama/Llama-3.1-8B" how to download it.
std::string remedy_for_missing_model(const std::string& name);

/// What to do where a model's folder has no safetensors, by what it has instead.
std::string remedy_for_missing_weights(const std::filesystem::path& folder);

/// What to do where there is no text file `name`: for a dataset's name, "wikitext2" or
/// "HuggingFaceFW/fineweb", where its files come from.
std::string remedy_for_missing_text(const std::string& name);

}  // namespace galapagos
