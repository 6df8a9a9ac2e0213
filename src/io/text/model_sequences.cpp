#include <algorithm>
#include <memory>
#include <string>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/io/token_file.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

std::int64_t checked_sequence_length(std::int64_t asked, const HfConfig& config) {
  constexpr std::int64_t longest_default = 8192;
  const std::int64_t longest = config.longest_sequence();
  if (asked == 0) return std::min(longest, longest_default);
  if (asked < 0 || asked > longest) {
    const bool scaled = asked > longest && longest < config.max_position_embeddings;
    throw UsageError("a sequence length of " + std::to_string(asked), "--sequence-length",
                     "this model takes 1 to " + std::to_string(longest) + " tokens" +
                         (scaled ? ": that queries of later ones are scaled is not supported" : ""));
  }
  return asked;
}

TokenSet load_model_sequences(const Communicator& comm, const std::vector<std::filesystem::path>& files,
                              const std::filesystem::path& model, const HfConfig& config,
                              const SequenceRequest& request) {
  std::unique_ptr<Tokenizer> tokenizer;
  SequenceOptions options;
  options.sequence_length = request.sequence_length;
  options.token_budget = request.token_budget;
  options.fewer = request.fewer;
  options.responses_only = request.responses_only;
  options.text = request.text;
  agree(comm, [&] {
    const bool text =
        std::any_of(files.begin(), files.end(), [](const auto& file) { return !is_token_file(file); });
    if (text) {
      tokenizer = Tokenizer::load(model);
      options.text.chat = load_chat_template(model, request.text.chat_template, *tokenizer);
    }
    if (!request.add_bos) return;
    if (config.bos_id) options.bos = static_cast<std::int32_t>(*config.bos_id);
    if (tokenizer && tokenizer->bos_id()) options.bos = tokenizer->bos_id();
    if (!options.bos) {
      throw UsageError("the model names no BOS token", "--add-bos",
                       "leave it out; Qwen2 models, for one, use none");
    }
  });
  return load_sequences(comm, files, tokenizer.get(), options, static_cast<std::int32_t>(config.vocab_size));
}

}  // namespace galapagos
