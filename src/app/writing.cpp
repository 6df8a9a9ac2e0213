#include "writing.hpp"

#include "kept_texts.hpp"

#include <fmt/format.h>
#include <map>
#include <span>

#include <galapagos/core/hash.hpp>
#include <galapagos/io/chat_template.hpp>

namespace galapagos::app {
namespace {

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

}  // namespace

void Writing::find_tokenizer(const GenerateRequest& request) {
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
    const std::vector<std::int64_t> kept =
        model.space.modules[i].kept[static_cast<std::size_t>(model.assignment[i])];
    levels.add(kept.size()).add(std::as_bytes(std::span(kept)));
  }
  Json json;
  json["model"] = hex64(model.checkpoint->fingerprint());
  if (model.database) {
    json["assignment"] = hex64(levels.value());
    const DatabaseHeader& header = model.database->header();
    json["database-calibration"] = header.calibration_fingerprint;
    json["database-rel-damp"] = header.relative_damping;
    json["database-precision"] = name_of(header.precision);
    json["database-path"] = header.path;
    json["database-compensate"] = header.compensation;
  }
  json["config"] = hex64(Hash64().add(model.config.source.dump()).value());
  if (writing.tokenizer) json["tokenizer"] = hex64(writing.tokenizer->fingerprint());
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

TextWatch watch_for(const Writing& writing) {
  auto watched = std::make_shared<std::map<std::size_t, ContinuedText>>();
  return [&writing, watched](std::size_t prompt, std::int32_t id) {
    if (!writing.decoder || writing.prompts.stop[prompt].empty()) return false;
    auto text = watched->find(prompt);
    if (text == watched->end()) text = watched->emplace(prompt, writing.watch(prompt)).first;
    return text->second.push(id);
  };
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

}  // namespace galapagos::app
