#include "target.hpp"

#include <memory>

#include <galapagos/core/error.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/text_reader.hpp>

// A chat template, and records with conversations, one a line.
namespace galapagos::fuzz {
namespace {

constexpr std::string_view tokenizer_json =
    R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "</s>": 2}, "merges": []}, "added_tokens": [
  {"id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
   "special": true}]})";

std::unique_ptr<Tokenizer> small_tokenizer(const Folder& folder) {
  folder.write("tokenizer_config.json", R"({"bos_token": "</s>", "eos_token": "</s>"})");
  return Tokenizer::load(folder.write("tokenizer.json", tokenizer_json));
}

void read(std::string_view input) {
  static const Folder folder;
  static const std::unique_ptr<Tokenizer> tokenizer = small_tokenizer(folder);
  const auto parts = cut(input, 2);
  folder.write("chat_template.jinja", parts[0]);
  TextOptions options;
  options.skip_bad_lines = 4;
  options.chat = load_chat_template(folder.path(), "", *tokenizer);
  const auto records = folder.write("x.jsonl", parts[1]);
  for (const bool responses : {false, true}) {
    DocumentReader reader(records, options, responses);
    for (std::vector<TextPart> document;;) {
      try {
        if (!reader.next(document)) break;
        chat_prompt(*options.chat, reader.record(), reader.where());
      } catch (const BadRecord&) {
      }
    }
  }
}

const Target target("chat", read);

}  // namespace
}  // namespace galapagos::fuzz
