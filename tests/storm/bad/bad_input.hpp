#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos::storm {

/// A file that is spoilt in one way, and the command that is given it.
struct BadInput {
  std::string what;  ///< in a few words
  std::string file;  ///< within the folder of inputs
  std::function<void(const std::filesystem::path& file)> spoil;
  std::vector<std::string> words;  ///< the paths of inputs and of the output begin with "@/"
};

/// What can be given, of every kind of file that the program reads.
std::vector<BadInput> bad_models();  // config.json and weights
std::vector<BadInput> bad_tokenizers();
std::vector<BadInput> bad_texts();        // and token files and prompts
std::vector<BadInput> bad_assignments();  // and options and tables of times
std::vector<BadInput> bad_databases();    // and sensitivities

/// Replaces a text by what is made of it.
std::function<void(const std::filesystem::path&)> edit(std::function<std::string(std::string)> made);
/// Replaces it.
std::function<void(const std::filesystem::path&)> put(std::string text);
/// Cuts it after so much of it.
std::function<void(const std::filesystem::path&)> cut(double share);
/// Replaces the first `old`, which has to be there.
std::function<void(const std::filesystem::path&)> swap_text(std::string old, std::string with);
/// Changes a JSON file.
std::function<void(const std::filesystem::path&)> edit_json(std::function<void(Json& json)> change);

}  // namespace galapagos::storm
