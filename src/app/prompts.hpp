#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/text_options.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos::app {

/// What `generate` goes on with, each with its own words to stop at and its own most tokens.
struct Prompts {
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<std::vector<std::string>> stop;
  std::vector<std::int64_t> limits;

  void add(std::vector<std::int32_t> prompt, std::vector<std::string> words, std::int64_t limit) {
    ids.push_back(std::move(prompt));
    stop.push_back(std::move(words));
    limits.push_back(limit);
  }
};

/// How a file of prompts is read.
struct PromptRules {
  const HfConfig& config;
  const Tokenizer* tokenizer = nullptr;  ///< null where there are only ids
  std::optional<InputError> refused;     ///< why the model's tokenizer is not read
  std::optional<std::int32_t> bos;       ///< goes in front of every prompt that is no list of ids
  TextOptions text;
  std::vector<std::string> stop;  ///< of every prompt
  std::int64_t new_tokens = 0;    ///< of a prompt that says nothing
};

/// The prompts of a file: JSON records, in any file that DocumentReader takes, with the text under "prompt"
/// or "text", a conversation under "messages" or a list of "ids", and where they are wanted "stop" and
/// "max_new_tokens"; with text.text_key the text under that, and of other keys only those two. Or plain text
/// and data sets, each document a prompt. InputError, naming the line, for what is no prompt, an empty one,
/// an id that the model has not, one that leaves no room in the model's context, and keys that mean nothing.
Prompts read_prompts(const std::filesystem::path& path, const PromptRules& rules);

}  // namespace galapagos::app
