#include "command.hpp"
#include "eval_time.hpp"

#include <array>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>

namespace galapagos::app {

void bind(Options& list, EvalRequest& request) {
  list.describe("eval", "perplexity of a model on texts, and how far it is from another model");
  list.add("model", request.model, "folder of a Hugging Face model", {.required = true});
  list.add("database", request.database, "with --assignment: put levels of this database in");
  list.add("assignment", request.assignment, "a level for every module, as best.txt");
  list.add("data", request.data, "text (.txt, .jsonl, .json, also .gz and .zst) or token files (.bin)");
  list.add("reference", request.reference, "folder of the unpruned model, for KL and top-1 agreement");
  list.add("sequence-length", request.sequence_length,
           "longest sequence in tokens; 0: what the model takes, at most 8192");
  list.add("shards", request.shards, "ranks that hold one copy of the model, each a part of every layer");
  list.add("tokens", request.tokens, "tokens of each file to use; 0: all",
           {.least = 0, .refusal = "a negative number", .remedy = "give 1 or more"});
  list.add("add-bos", request.add_bos, "put a BOS token in front of every document");
  bind_text(list, request.text);
  list.add("score", request.score,
           "instead of --data: requests, one {\"context\": [ids], \"continuation\": [ids]} per line");
  list.add("scores", request.scores, "with --score: the answers, one {\"logprob\", \"greedy\"} per line");
  list.add("time", request.time.asked,
           "instead of --data: tokens that the model, and the reference, read and write in a second");
  list.add("time-batch", request.time.batch, "with --time: sequences, as \"1 8 32\"", {.list = true});
  list.add("time-lengths", request.time.lengths,
           "with --time: tokens of a prompt, and before a token that is written; without it what the model "
           "takes, at most 1024",
           {.list = true});
  list.add("time-repeats", request.time.repeats, "of each measurement, of which the least counts",
           {.least = 1, .most = 10000});
  list.add("json", request.json, "print the result as JSON");
  bind_computing(list, request);
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

Data load_data(const Communicator& world, const EvalRequest& asked, const NamedModel& model) {
  SequenceRequest request;
  agree(world,
        [&] { request.sequence_length = checked_sequence_length(asked.sequence_length, model.config); });
  request.token_budget = asked.tokens;
  request.add_bos = asked.add_bos;
  request.text = asked.text;
  Data data;
  for (const std::filesystem::path& file : asked.data) {
    const TokenSet set =
        load_model_sequences(world, {file}, model.checkpoint->folder(), model.config, request);
    const std::uint64_t before = data.all.tokens.size();
    data.all.tokens.insert(data.all.tokens.end(), set.tokens.begin(), set.tokens.end());
    for (std::size_t s = 1; s < set.offsets.size(); ++s) data.all.offsets.push_back(before + set.offsets[s]);
    data.ends.push_back(data.all.sequences());
  }
  return data;
}

/// Everything that is wrong before a file is opened.
void check_eval(const Asked<EvalRequest>& asked, int ranks) {
  const EvalRequest& request = asked.request;
  if (request.time.asked) {
    if (request.score || request.scores || !request.data.empty())
      throw UsageError("--time needs no text", "--data, --score, --scores", "leave them out");
    const auto check_numbers = [](const std::string& numbers, const char* option) {
      if (parse_integers(numbers, option).empty())
        throw UsageError("no number", option, "give one or more, or leave it out");
    };
    check_numbers(request.time.batch, "--time-batch");
    if (asked.options.given_here("time-lengths")) check_numbers(request.time.lengths, "--time-lengths");
    if (ranks != request.shards)
      throw UsageError(
          fmt::format("{} ranks for {} shards, which would be in each other's way", ranks, request.shards),
          "--time", "start as many ranks as a copy of the model has --shards");
    return;
  }
  for (const char* name : {"time-batch", "time-lengths", "time-repeats"})
    if (asked.options.given_here(name))
      throw UsageError("nothing is timed", fmt::format("--{}", name), "give --time, too");
  if (request.scores && !request.score)
    throw UsageError("nothing is scored", "--scores", "give --score, too");
  asked.options.require(request.score ? "scores" : "data");
  if (request.score && (!request.data.empty() || request.reference)) {
    throw UsageError("--score stands alone", "--data, --reference", "leave them out");
  }
}

}  // namespace

void eval(const Communicator& world, const std::vector<std::string>& words) {
  Asked<EvalRequest> asked;
  if (!begin(world, asked, words)) return;
  const EvalRequest& request = asked.request;
  agree(world, [&] { check_eval(asked, world.size()); });
  if (request.scores)
    agree_at_root(world, [&] { check_output_file(*request.scores, std::array{*request.score}); });
  const ops::Context context = make_context(world, request);
  PhaseTimes times;
  std::optional<PhaseScope> reading(std::in_place, &times, "reading");
  const auto model =
      open_model(world, request.model, request.database, request.assignment, request.precision);
  const auto open_reference = [&] {
    return open_model(world, *request.reference, std::nullopt, std::nullopt, request.precision);
  };
  if (request.time.asked) {
    const auto dense = request.reference ? open_reference() : nullptr;
    return eval_time(world, context, request, *model, dense.get());
  }
  std::optional<ReplicaGrid> grid;
  if (request.shards > 1) grid.emplace(world, request.shards);
  EvaluationOptions how = {request.batch_tokens, request.memory_limit};
  how.grid = grid ? &*grid : nullptr;
  how.make_collectives = collectives_for(context, request);
  const auto part_of = [&](const NamedModel& of) {
    return agree_on(world, [&] { return of.source(context, grid ? grid->shard() : 0, request.shards); });
  };
  const ModelSource source = part_of(*model);
  if (request.score) {
    return score_requests(world, context, source, model->config, *request.score, *request.scores, how);
  }
  std::unique_ptr<NamedModel> other;
  std::optional<ModelSource> reference;
  if (request.reference) {
    other = open_reference();
    reference = part_of(*other);
  }
  const bool compared = reference.has_value();
  const Data data = load_data(world, request, *model);
  reading.reset();
  const std::vector<SequenceScore> scores =
      score_sequences(world, context, source, compared ? &*reference : nullptr, data.all, how, &times);
  report_run(world, times);
  const Evaluation whole = summarise(scores);
  agree(world, [&] {
    if (whole.tokens == 0) {
      throw InputError("no sequence of two tokens or more", "--data",
                       "give a longer text or a greater --sequence-length");
    }
    check_finite(scores);
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
    const std::string name = request.data[set].string();
    json["sets"].push_back(as_json(part, compared));
    json["sets"].back()["file"] = name;
    text += "\n" + name + "\n" + as_text(part, compared);
    begin_of_set = data.ends[set];
  }
  print(world, request.json ? json.dump(2) + "\n" : text);
}

}  // namespace galapagos::app
