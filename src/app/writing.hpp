#pragma once

#include "command.hpp"
#include "prompts.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/continued_text.hpp>
#include <galapagos/model/generation_options.hpp>

namespace galapagos::app {

/// What text there is, and what is asked to be written behind it.
struct Writing {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<TextDecoder> decoder;  // null without a tokenizer
  std::unique_ptr<TextDecoder> watched;  // with special tokens, at which a text may be to end, too
  std::optional<InputError> refused;     // why there is no tokenizer though the model has one
  Prompts prompts;

  /// Finds that of a model's folder, where there is one that can be read; prompts of ids need none.
  void find_tokenizer(const GenerateRequest& request);

  ContinuedText behind(std::size_t prompt) const {
    return {*decoder, prompts.ids[prompt], prompts.stop[prompt]};
  }
  ContinuedText watch(std::size_t prompt) const {
    return {*watched, prompts.ids[prompt], prompts.stop[prompt]};
  }
};

/// InputError for prompts that are none, UsageError where words are asked for and there is no tokenizer.
Writing read_writing(const GenerateRequest& request, const HfConfig& config);

/// What decides the texts, but for the rounding of products.
Json identity_of(const NamedModel& model, const Writing& writing, const GenerationOptions& how);

/// Says whether words end the texts of the prompts that this replica has. `writing` must outlive it.
TextWatch watch_for(const Writing& writing);

/// A line of the output for each text.
std::string lines_of(const Writing& writing, const std::vector<GeneratedText>& texts);

}  // namespace galapagos::app
