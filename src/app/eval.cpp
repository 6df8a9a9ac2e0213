#include "command.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

Options declare_eval() {
  Options options("eval", "perplexity of a model on texts, and how far it is from another model");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "database", po::value<std::string>(), "with --assignment: put levels of this database in")(
      "assignment", po::value<std::string>(), "a level for every module, as best.txt")(
      "data", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "text (.txt, .jsonl, also .gz and .zst) or token files (.bin)")(
      "reference", po::value<std::string>(), "folder of the unpruned model, for KL and top-1 agreement")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence in tokens; 0: what the model takes, at most 8192")(
      "shards", po::value<std::int64_t>()->default_value(1),
      "ranks that hold one copy of the model, each a part of every layer")(
      "tokens", po::value<std::int64_t>()->default_value(0), "tokens of each file to use; 0: all")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "score", po::value<std::string>(),
      "instead of --data: requests, one {\"context\": [ids], \"continuation\": [ids]} "
      "per line")("scores", po::value<std::string>(),
                  "with --score: the answers, one {\"logprob\", \"greedy\"} per line")(
      "json", po::bool_switch(), "print the result as JSON");
  declare_common(options, true);
  return options;
}

EvaluationOptions read_evaluation(const Options& options) {
  EvaluationOptions how;
  how.batch_tokens = options.get<std::int64_t>("batch-tokens");
  how.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
  if (how.batch_tokens < 1)
    throw UsageError("fewer than one token at a time", "--batch-tokens", "give 1 or more");
  return how;
}

namespace {

Json as_json(const Evaluation& evaluation, bool compared) {
  Json json;
  json["sequences"] = evaluation.sequences;
  json["tokens"] = evaluation.tokens;
  json["nll"] = evaluation.nll;
  json["perplexity"] = evaluation.perplexity();
  if (compared) {
    json["kl"] = evaluation.kl;
    json["top1_agreement"] = evaluation.top1_agreement;
  }
  return json;
}

std::string as_text(const Evaluation& evaluation, bool compared) {
  std::string text =
      fmt::format("sequences   {}\ntokens      {}\nnll         {:.6f}\nperplexity  {:.4f}\n",
                  evaluation.sequences, evaluation.tokens, evaluation.nll, evaluation.perplexity());
  if (compared) {
    text += fmt::format("kl          {:.6f}\ntop-1       {:.4f} agree with the reference\n", evaluation.kl,
                        evaluation.top1_agreement);
  }
  return text;
}

/// The files one after the other, and where each one's sequences end.
struct Data {
  TokenSet all;
  std::vector<std::size_t> ends;
};

Data load_data(const Communicator& world, const Options& options, const NamedModel& model) {
  const std::vector<std::filesystem::path> files = paths_of(options.get<std::vector<std::string>>("data"));
  SequenceRequest request;
  agree(world, [&] {
    request.sequence_length =
        checked_sequence_length(options.get<std::int64_t>("sequence-length"), model.config);
    request.token_budget = options.get<std::int64_t>("tokens");
    request.add_bos = options.flag("add-bos");
    if (request.token_budget < 0) throw UsageError("a negative number", "--tokens", "give 1 or more");
  });
  Data data;
  for (const std::filesystem::path& file : files) {
    const TokenSet set =
        load_model_sequences(world, {file}, model.checkpoint->folder(), model.config, request);
    const std::uint64_t before = data.all.tokens.size();
    data.all.tokens.insert(data.all.tokens.end(), set.tokens.begin(), set.tokens.end());
    for (std::size_t s = 1; s < set.offsets.size(); ++s) data.all.offsets.push_back(before + set.offsets[s]);
    data.ends.push_back(data.all.sequences());
  }
  return data;
}

}  // namespace

void eval(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_eval();
  if (!begin(world, options, words)) return;
  const ops::Context context = make_context(world, options);
  EvaluationOptions how;
  std::optional<DType> precision;
  int shards = 1;
  agree(world, [&] {
    options.require("model");
    options.require(options.has("score") ? "scores" : "data");
    if (options.has("score") && (options.has("data") || options.has("reference"))) {
      throw UsageError("--score stands alone", "--data, --reference", "leave them out");
    }
    how = read_evaluation(options);
    precision = precision_of(options);
    shards = shards_of(options, world.size());
  });
  PhaseTimes times;
  std::optional<PhaseScope> reading(std::in_place, &times, "reading");
  const auto model =
      open_model(world, options.get<std::string>("model"), options.find<std::string>("database"),
                 options.find<std::string>("assignment"), precision);
  std::optional<ReplicaGrid> grid;
  if (shards > 1) grid.emplace(world, shards);
  how.grid = grid ? &*grid : nullptr;
  how.make_collectives = collectives_for(context, options);
  const auto part_of = [&](const NamedModel& of) {
    return agree_on(world, [&] { return of.source(context, grid ? grid->shard() : 0, shards); });
  };
  const ModelSource source = part_of(*model);
  if (const auto requests = options.find<std::string>("score")) {
    return score_requests(world, context, source, model->config, *requests,
                          options.get<std::string>("scores"), how);
  }
  std::unique_ptr<NamedModel> other;
  std::optional<ModelSource> reference;
  if (const auto folder = options.find<std::string>("reference")) {
    other = open_model(world, *folder, std::nullopt, std::nullopt, precision);
    reference = part_of(*other);
  }
  const bool compared = reference.has_value();
  const Data data = load_data(world, options, *model);
  reading.reset();
  const std::vector<SequenceScore> scores =
      score_sequences(world, context, source, compared ? &*reference : nullptr, data.all, how, &times);
  report_phases(world, times);
  const Evaluation whole = summarise(scores);
  agree(world, [&] {
    if (whole.tokens == 0) {
      throw InputError("no sequence of two tokens or more", "--data",
                       "give a longer text or a greater --sequence-length");
    }
  });
  const std::int64_t parameters = model->parameters();
  Json json;
  json["parameters"] = parameters;
  json.update(as_json(whole, compared));
  std::string text = fmt::format("parameters  {}\n", human_count(static_cast<std::uint64_t>(parameters))) +
                     as_text(whole, compared);
  std::size_t begin_of_set = 0;
  for (std::size_t set = 0; data.ends.size() > 1 && set < data.ends.size(); ++set) {
    const Evaluation part = summarise(std::span(scores).subspan(begin_of_set, data.ends[set] - begin_of_set));
    const std::string& name = options.get<std::vector<std::string>>("data")[set];
    json["sets"].push_back(as_json(part, compared));
    json["sets"].back()["file"] = name;
    text += "\n" + name + "\n" + as_text(part, compared);
    begin_of_set = data.ends[set];
  }
  print(world, options.flag("json") ? json.dump(2) + "\n" : text);
}

}  // namespace galapagos::app
