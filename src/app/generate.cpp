#include "kept_texts.hpp"
#include "writing.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/utf8.hpp>
#include <galapagos/io/end_ids.hpp>
#include <galapagos/model/generation.hpp>

namespace galapagos::app {

void bind(Options& list, GenerateRequest& request) {
  GenerationOptions& how = request.how;
  list.describe("generate", "texts that a model writes behind prompts, or from their beginning");
  list.add("model", request.model, "folder of a Hugging Face model", {.required = true});
  list.add("database", request.database, "with --assignment: put levels of this database in");
  list.add("assignment", request.assignment, "a level for every module, as best.txt");
  list.add("prompts", request.prompts,
           "records of JSON, each with prompt, text, messages or ids, or text of which each document is one");
  list.add("samples", request.samples, "instead: write as many texts behind a BOS token alone",
           {.least = 0, .most = 1e8, .none_at_0 = true});
  list.add("output", request.output,
           "the texts, one {\"index\", \"ids\", \"text\", \"stop\"} per line (.jsonl)", {.required = true});
  list.add("max-new-tokens", how.new_tokens, "tokens of a text at most", {.least = 1, .most = 1e8});
  list.add("temperature", how.sampling.temperature,
           "divides the logits before a token is drawn; 0: the likeliest is taken",
           {.least = 0, .most = 1000});
  list.add("top-p", how.sampling.top_p, "draw from the fewest tokens that are so probable together",
           {.least = 0, .most = 1, .above = true});
  list.add("top-k", how.sampling.top_k, "draw from as many of the likeliest tokens; 0: all", {.least = 0});
  list.add("seed", request.seed, "of what is drawn", {.least = 0});
  list.add("stop", request.stop, "words at which a text ends, which are no part of it");
  list.add("keep-special", request.keep_special, "write special tokens into the text");
  list.add("batch", how.batch, "texts that a replica writes at a time", {.least = 1, .most = 1e6});
  list.add("shards", request.shards, "ranks that hold one copy of the model, each a part of every layer");
  list.add("add-bos", request.add_bos, "put a BOS token in front of every prompt that is text");
  list.add_seconds("max-walltime", request.max_seconds, "stop in time to resume, as 11:45:00; 0: no limit");
  bind_resume(list, request, "an unfinished generation");
  bind_text(list, request.text);
  bind_computing(list, request);
}

namespace {

void check_word(const std::string& word, const std::string& where) {
  if (word.empty()) throw UsageError("a word of no characters", where, "give words to stop at");
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t length = utf8_length(word, at);
    if (length == 0) throw UsageError("a word that is no UTF-8", where, "give whole characters");
    at += length;
  }
}

void check_generate(const Asked<GenerateRequest>& asked) {
  const GenerateRequest& request = asked.request;
  check_resume(request);
  const bool samples = request.samples > 0;
  if (samples == request.prompts.has_value())
    throw UsageError("prompts or none", "--prompts, --samples", "give one of the two");
  if (asked.options.given_here("skip-bad-lines"))
    throw UsageError("no prompt is passed over", "--skip-bad-lines", "correct the prompts, and leave it out");
  for (const char* name : text_option_names)
    if (samples && asked.options.given_here(name))
      throw UsageError("no text is read", fmt::format("--{}", name), "give --prompts, or leave it out");
  for (const std::string& word : request.stop) check_word(word, "--stop");
  const Sampling& sampling = request.how.sampling;
  constexpr double least = 1e-3;  // below which logits are no numbers any more
  if (sampling.temperature > 0 && sampling.temperature < least)
    throw UsageError(fmt::format("a temperature of {}", sampling.temperature), "--temperature",
                     "give 0 for the likeliest token, or 0.001 or more");
  for (const char* name : {"top-p", "top-k", "seed"})
    if (sampling.greedy() && asked.options.given_here(name))
      throw UsageError("nothing is drawn at temperature 0", fmt::format("--{}", name),
                       "give a --temperature above 0, or leave it out");
}

/// InputError where there is something that is not to be replaced.
void check_output(const GenerateRequest& request) {
  std::vector<std::filesystem::path> inputs;
  for (const auto& input : {request.prompts, request.assignment, request.database})
    if (input) inputs.push_back(*input);
  check_output_file(request.output, inputs);
  if (!std::filesystem::exists(request.output)) return;
  if (!request.fresh)
    throw InputError("texts are there already", request.output.string(),
                     "give --fresh to replace them, or choose another --output");
  std::string first;
  std::getline(std::ifstream(request.output), first);
  const Json line = Json::parse(first, nullptr, false);
  if (!line.is_object() || !line.contains("index") || !line.contains("ids"))
    throw InputError("is there, and not what generate writes", request.output.string(),
                     "choose another --output");
}

double per_second(std::int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

GenerationOptions generation_options(const Communicator& world, const ops::Context& context,
                                     const GenerateRequest& request, const HfConfig& config,
                                     const Prompts& prompts) {
  GenerationOptions how = request.how;
  agree(world, [&] { how.end_ids = read_end_ids(request.model, config); });
  how.sampling.seed = static_cast<std::uint64_t>(request.seed);
  how.limits = prompts.limits;
  how.longest = config.longest_sequence();
  how.batch_tokens = request.batch_tokens;
  how.memory_limit = request.memory_limit;
  how.make_collectives = collectives_for(context, request);
  return how;
}

}  // namespace

void generate(const Communicator& world, const std::vector<std::string>& words) {
  Asked<GenerateRequest> asked;
  if (!begin(world, asked, words)) return;
  GenerateRequest& request = asked.request;
  watch_signals();
  const StopRule rule(request.max_seconds);
  agree(world, [&] { check_generate(asked); });
  std::optional<OutputLock> lock;
  agree_at_root(world, [&] {
    check_folder(request.output);
    lock.emplace(request.output);
    check_output(request);
  });
  const ops::Context context = make_context(world, request);
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  const auto model =
      open_model(world, request.model, request.database, request.assignment, request.precision);
  const Writing writing = agree_on(world, [&] { return read_writing(request, model->config); });
  GenerationOptions how = generation_options(world, context, request, model->config, writing.prompts);
  const KeptTexts kept(request.output);
  EarlierTexts earlier;  // on the root
  how.written.resize(writing.prompts.ids.size());
  agree_at_root(world, [&] {
    earlier = kept.open(identity_of(*model, writing, how), how.written.size(), model->config.vocab_size,
                        request.resume, request.fresh);
    if (request.fresh) std::filesystem::remove(request.output);
    for (const auto& [prompt, text] : earlier.texts) how.written[prompt] = 1;
  });
  world.broadcast(how.written);
  std::optional<TextFile> file(std::in_place,
                               kept.file(world.broadcast_value(earlier.next_file) + world.rank()));
  how.keep = [&](std::size_t prompt, const GeneratedText& text) { file->add(prompt, text); };
  how.stops = [&] { return rule.holds(); };
  const ReplicaGrid grid(world, request.shards);
  const ModelSource source =
      agree_on(world, [&] { return model->source(context, grid.shard(), request.shards); });
  if (writing.refused && world.is_root())
    log_warning("the output has ids and no text, as the tokenizer is not read: {}", writing.refused->what());
  phase.emplace(&times, "generating");
  GenerationSpeed speed;
  std::vector<GeneratedText> texts(how.written.size());
  if (std::ranges::count(how.written, 0) > 0)
    texts = galapagos::generate(grid, context, source, writing.prompts.ids, how, watch_for(writing), &speed);
  file.reset();  // before it is removed
  phase.reset();
  report_run(world, times);
  agree_at_root(world, [&] {
    for (auto& [prompt, text] : earlier.texts) texts[prompt] = std::move(text);
    kept.publish(lines_of(writing, texts));
    log_info("{}: {} texts; {} tokens read at {:.1f} tokens/s, {} written at {:.1f} tokens/s",
             request.output.string(), texts.size(),
             human_count(static_cast<std::uint64_t>(speed.prompt_tokens)),
             per_second(speed.prompt_tokens, speed.prompt_seconds),
             human_count(static_cast<std::uint64_t>(speed.new_tokens)),
             per_second(speed.new_tokens, speed.new_seconds));
  });
}

}  // namespace galapagos::app
