#include "command.hpp"
#include "kept_texts.hpp"
#include "prompts.hpp"

#include <fmt/format.h>
#include <fstream>
#include <map>
#include <memory>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/utf8.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/continued_text.hpp>
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

bool has_tokenizer(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / "tokenizer.json") ||
         std::filesystem::exists(folder / "tokenizer.model");
}

std::int32_t bos_of(const GenerateRequest& request, const HfConfig& config, const Tokenizer* tokenizer) {
  std::optional<std::int32_t> bos;
  if (tokenizer != nullptr) bos = tokenizer->bos_id();
  if (!bos && config.bos_id) bos = static_cast<std::int32_t>(*config.bos_id);
  if (bos && *bos < config.vocab_size) return *bos;
  if (bos) {
    throw InputError(
        fmt::format("the BOS token has the id {}, and the model {} ids", *bos, config.vocab_size),
        request.model.string(), "use the tokenizer of this model");
  }
  throw UsageError("the model names no BOS token", request.samples > 0 ? "--samples" : "--add-bos",
                   request.samples > 0 ? "give --prompts" : "leave it out");
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

/// What text there is, and what is asked to be written behind it.
struct Writing {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<TextDecoder> decoder;  // null without a tokenizer
  std::unique_ptr<TextDecoder> watched;  // with special tokens, at which a text may be to end, too
  std::optional<InputError> refused;     // why there is no tokenizer though the model has one
  Prompts prompts;

  /// That of a model's folder, where there is one that can be read; prompts of ids need none.
  void find_tokenizer(const GenerateRequest& request) {
    if (!has_tokenizer(request.model)) return;
    try {
      auto found = Tokenizer::load(request.model);
      decoder = found->decoder(request.keep_special);
      watched = found->decoder(true);
      tokenizer = std::move(found);
    } catch (const InputError& error) {
      decoder.reset();
      refused = error;
    }
  }

  ContinuedText behind(std::size_t prompt) const {
    return {*decoder, prompts.ids[prompt], prompts.stop[prompt]};
  }
  ContinuedText watch(std::size_t prompt) const {
    return {*watched, prompts.ids[prompt], prompts.stop[prompt]};
  }
};

Writing read_writing(const GenerateRequest& request, const HfConfig& config) {
  Writing writing;
  writing.find_tokenizer(request);
  const Tokenizer* tokenizer = writing.tokenizer.get();
  PromptRules rules{config,       tokenizer,    writing.refused,       std::nullopt,
                    request.text, request.stop, request.how.new_tokens};
  if (request.add_bos || request.samples > 0) rules.bos = bos_of(request, config, tokenizer);
  if (tokenizer != nullptr && request.prompts) {
    rules.text.chat = load_chat_template(request.model, request.text.chat_template, *tokenizer);
  } else if (tokenizer == nullptr && !request.stop.empty()) {
    if (writing.refused) throw InputError(*writing.refused);
    throw UsageError("the model has no tokenizer, so that it writes no words", "--stop", "leave it out");
  }
  if (request.prompts) {
    writing.prompts = read_prompts(*request.prompts, rules);
  } else {
    for (std::int64_t i = 0; i < request.samples; ++i)
      writing.prompts.add({*rules.bos}, request.stop, request.how.new_tokens);
  }
  return writing;
}

/// What decides the texts, but for the rounding of products.
Json identity_of(const NamedModel& model, const Writing& writing, const GenerationOptions& how) {
  const Sampling& sampling = how.sampling;
  Hash64 prompts, levels;
  for (std::size_t i = 0; i < writing.prompts.ids.size(); ++i) {
    const auto& ids = writing.prompts.ids[i];
    prompts.add(ids.size()).add(std::as_bytes(std::span(ids)));
    prompts.add(static_cast<std::uint64_t>(writing.prompts.limits[i]));
    for (const std::string& word : writing.prompts.stop[i]) prompts.add(word.size()).add(word);
  }
  for (std::size_t i = 0; i < model.assignment.size(); ++i) {
    const auto& kept = model.space.modules[i].kept[static_cast<std::size_t>(model.assignment[i])];
    levels.add(kept.size()).add(std::as_bytes(std::span(kept)));
  }
  Json json;
  json["model"] = hex64(model.checkpoint->fingerprint());
  if (model.database) {
    json["assignment"] = hex64(levels.value());
    json["database-calibration"] = model.database->header().calibration_fingerprint;
    json["database-compensate"] = model.database->header().compensation;
  }
  json["precision"] = name_of(model.precision);
  json["prompts"] = hex64(prompts.value());
  json["texts"] = writing.prompts.ids.size();
  json["ends"] = how.end_ids;
  json["temperature"] = sampling.temperature;
  if (sampling.greedy()) return json;
  json["top-k"] = sampling.top_k;
  json["top-p"] = sampling.top_p;
  json["seed"] = sampling.seed;
  return json;
}

std::string lines_of(const Writing& writing, const std::vector<GeneratedText>& texts) {
  std::string lines;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Json line;
    line["index"] = i;
    line["ids"] = texts[i].ids;
    if (writing.decoder) {
      ContinuedText text = writing.behind(i);
      for (const std::int32_t id : texts[i].ids) text.push(id);
      line["text"] = text.text();
    }
    line["stop"] = name_of(texts[i].reason);
    lines += line.dump() + "\n";
  }
  return lines;
}

double per_second(std::int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

/// Says whether words end the texts of the prompts that this replica has.
TextWatch watch_for(const Writing& writing) {
  auto watched = std::make_shared<std::map<std::size_t, ContinuedText>>();
  return [&writing, watched](std::size_t prompt, std::int32_t id) {
    if (!writing.decoder || writing.prompts.stop[prompt].empty()) return false;
    auto text = watched->find(prompt);
    if (text == watched->end()) text = watched->emplace(prompt, writing.watch(prompt)).first;
    return text->second.push(id);
  };
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
    check_output(request);
    lock.emplace(request.output);
  });
  const ops::Context context = make_context(world, request);
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  const auto model =
      open_model(world, request.model, request.database, request.assignment, request.precision);
  const Writing writing = agree_on(world, [&] { return read_writing(request, model->config); });
  GenerationOptions how = generation_options(world, context, request, model->config, writing.prompts);
  KeptTexts kept(request.output);
  std::map<std::size_t, GeneratedText> before;  // on the root, by prompts
  how.written.resize(writing.prompts.ids.size());
  agree_at_root(world, [&] {
    before = kept.open(identity_of(*model, writing, how), how.written.size(), model->config.vocab_size,
                       request.resume, request.fresh);
    for (const auto& [prompt, text] : before) how.written[prompt] = 1;
  });
  world.broadcast(how.written);
  TextFile ended(kept.file(world.broadcast_value(kept.first_file()) + world.rank()));
  how.keep = [&](std::size_t prompt, const GeneratedText& text) { ended.add(prompt, text); };
  how.look = [&] {
    if (!rule.holds()) return;
    throw StoppedEarly("stopped; the texts that have ended are kept", kept.folder().string(), go_on);
  };
  const ReplicaGrid grid(world, request.shards);
  const ModelSource source =
      agree_on(world, [&] { return model->source(context, grid.shard(), request.shards); });
  if (writing.refused && world.is_root())
    log_warning("the output has ids and no text, as the tokenizer is not read: {}", writing.refused->what());
  phase.emplace(&times, "generating");
  GenerationSpeed speed;
  std::vector<GeneratedText> texts =
      galapagos::generate(grid, context, source, writing.prompts.ids, how, watch_for(writing), &speed);
  phase.reset();
  report_run(world, times);
  agree_at_root(world, [&] {
    for (auto& [prompt, text] : before) texts[prompt] = std::move(text);
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
