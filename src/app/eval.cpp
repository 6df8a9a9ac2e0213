#include "command.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/evaluate.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

void eval(const Communicator& world, const std::vector<std::string>& words) {
  Options options("eval", "negative log-likelihood per token and perplexity of a model");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "data", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "text (.txt, .jsonl, also .gz and .zst) or token files (.bin)")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence in tokens; 0: what the model takes, at most 8192")(
      "tokens", po::value<std::int64_t>()->default_value(0), "tokens to use; 0: all")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")("json", po::bool_switch(),
                                                                                  "print the result as JSON");
  declare_common(options, true);
  if (!begin(world, options, words)) return;
  const ops::Context context = make_context(world, options);

  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  SequenceRequest request;
  EvaluationOptions how;
  std::vector<std::filesystem::path> files;
  agree(world, [&] {
    options.require("model");
    options.require("data");
    const std::filesystem::path model = options.get<std::string>("model");
    files = paths_of(options.get<std::vector<std::string>>("data"));
    config = read_hf_config(model);
    checkpoint.emplace(model);
    how.precision = precision_of(options).value_or(checkpoint->dtype());
    how.batch_tokens = options.get<std::int64_t>("batch-tokens");
    how.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
    request.sequence_length = checked_sequence_length(options.get<std::int64_t>("sequence-length"), config);
    request.token_budget = options.get<std::int64_t>("tokens");
    request.add_bos = options.flag("add-bos");
    if (request.token_budget < 0) throw UsageError("a negative number", "--tokens", "give 1 or more");
    if (how.batch_tokens < 1)
      throw UsageError("fewer than one token at a time", "--batch-tokens", "give 1 or more");
  });
  const TokenSet data = load_model_sequences(world, files, checkpoint->folder(), config, request);
  const Evaluation result = evaluate(world, context, *checkpoint, config, data, how);
  if (options.flag("json")) {
    Json json;
    json["sequences"] = result.sequences;
    json["tokens"] = result.tokens;
    json["nll"] = result.nll;
    json["perplexity"] = result.perplexity();
    return print(world, json.dump(2) + "\n");
  }
  print(world, fmt::format("sequences   {}\ntokens      {}\nnll         {:.6f}\nperplexity  {:.4f}\n",
                           result.sequences, result.tokens, result.nll, result.perplexity()));
}

}  // namespace galapagos::app
