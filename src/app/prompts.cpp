#include "prompts.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>
#include <utility>

#include <galapagos/core/json.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/text_reader.hpp>

namespace galapagos::app {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::array prompt_keys = {"prompt", "text", "messages", "ids"};

class PromptReader {
 public:
  PromptReader(const std::filesystem::path& path, const PromptRules& rules) : path_(path), rules_(rules) {}

  Prompts read() {
    DocumentReader reader(path_, rules_.text);
    if (!reader.of_records()) {
      read_documents(reader);
    } else if (rules_.text.text_key.empty()) {
      read_records(reader);
    } else {
      read_named_texts();
    }
    if (prompts_.ids.empty())
      throw InputError("no prompts", path_.string(), "write one object with a \"prompt\" a line");
    return std::move(prompts_);
  }

 private:
  void read_records(DocumentReader& reader) {
    while (reader.skip()) {
      where_ = reader.where();
      read_record(reader.record());
    }
  }

  void read_documents(DocumentReader& reader) {
    for (std::string text; next_text(reader, text);) add(ids_of(text, false), rules_.stop, rules_.new_tokens);
  }

  /// Of records of any keys the text that --text-key names, and what says how a text is to end.
  void read_named_texts() {
    TextOptions bare = rules_.text;
    bare.chat.reset();
    bare.chat_template.clear();  // so that conversations are counted
    DocumentReader reader(path_, bare);
    for (std::string text; next_text(reader, text);) {
      if (reader.counts().bare_chats > 0)
        fail(fmt::format("'{}' is a conversation", printable(bare.text_key, 60)),
             "name it messages and leave --text-key out, so that it is laid out for an answer");
      const Json record = parse_json_leniently(reader.record(), where_);
      add(ids_of(text, false), stop_of(record), limit_of(record));
    }
  }

  bool next_text(DocumentReader& reader, std::string& text) {
    std::vector<TextPart> parts;
    try {
      if (!reader.next(parts)) return false;
    } catch (const BadRecord& bad) {  // which would go on past it
      throw InputError(bad.fault(), {}, "correct the record, or name another key by --text-key");
    }
    where_ = reader.where();
    if (const auto replaced = reader.counts().replaced(); replaced > 0 && !rules_.text.allow_invalid_utf8)
      fail(fmt::format("not UTF-8 in {} places", replaced),
           "convert the file, or read U+FFFD in their place with --allow-invalid-utf8");
    text.clear();
    for (const TextPart& part : parts) text += part.text;
    return true;
  }

  void read_record(const std::string& line) {
    const Json record = parse_json(line, where_);
    if (!record.is_object()) fail("is no JSON object", "write an object for each prompt");
    std::string given;
    bool of_messages = false;
    for (const auto& [key, value] : record.items()) {
      if (std::ranges::find(prompt_keys, key) != prompt_keys.end()) {
        if (!given.empty()) fail(fmt::format("has both '{}' and '{}'", given, key), "leave one out");
        given = key;
      } else if (key == "tools" || key == "chat_template_kwargs") {
        of_messages = true;
      } else if (key != "stop" && key != "max_new_tokens") {
        fail(fmt::format("the key '{}' means nothing here", printable(key, 60)),
             "give prompt, text, messages or ids, and stop and max_new_tokens where they are wanted; or name "
             "the text's key by --text-key, and others are passed over");
      }
    }
    if (given.empty()) fail("has no prompt", "give it as prompt, text, messages or ids");
    if (of_messages && given != "messages")
      fail("has tools or chat_template_kwargs without messages", "give messages, or leave them out");
    add(given == "ids" ? listed(record["ids"]) : ids_of(text_of(record, given, line), given == "messages"),
        stop_of(record), limit_of(record));
  }

  std::string text_of(const Json& record, const std::string& key, const std::string& line) const {
    if (key != "messages") return json_string(record, key, where_);
    if (!rules_.text.chat && rules_.refused) throw InputError(*rules_.refused);  // it was not looked for
    if (!rules_.text.chat)
      fail("the model has no chat template for messages", "give one by --chat-template, or a prompt as text");
    return chat_prompt(*rules_.text.chat, line, where_);
  }

  Ids listed(const Json& ids) const {
    if (!ids.is_array()) fail("'ids' is no list", "write {\"ids\": [1, 2]}");
    Ids prompt;
    for (const Json& id : ids) {
      if (!id.is_number_integer() || id < 0 || id >= rules_.config.vocab_size)
        fail(fmt::format("'ids' holds {}, no id below {}", printable(id.dump(-1, ' ', true), 40),
                         rules_.config.vocab_size),
             "use the tokenizer of this model");
      prompt.push_back(id.get<std::int32_t>());
    }
    return prompt;
  }

  std::vector<std::string> stop_of(const Json& record) const {
    std::vector<std::string> words = rules_.stop;
    if (json_absent(record, "stop")) return words;
    const Json more = record["stop"].is_array() ? record["stop"] : Json::array({record["stop"]});
    for (const Json& word : more) {
      if (!word.is_string() || word.get_ref<const std::string&>().empty())
        fail("'stop' holds what is no word", "give texts of at least one character");
      words.push_back(word.get<std::string>());
    }
    if (!words.empty())
      need_tokenizer("the model has no tokenizer, so that it writes no words to stop at", "leave 'stop' out");
    return words;
  }

  std::int64_t limit_of(const Json& record) const {
    return json_absent(record, "max_new_tokens")
               ? rules_.new_tokens
               : json_integer(record, "max_new_tokens", 1, INT32_MAX, where_);
  }

  /// `laid_out`: by a template, which puts BOS there itself where it belongs.
  Ids ids_of(const std::string& text, bool laid_out) const {
    need_tokenizer("the model has no tokenizer for text", "give prompts as ids, or copy its tokenizer there");
    Ids ids = rules_.tokenizer->encode(text);
    if (rules_.bos && !laid_out) ids.insert(ids.begin(), *rules_.bos);
    return ids;
  }

  void add(Ids ids, std::vector<std::string> stop, std::int64_t limit) {
    const std::int64_t longest = rules_.config.longest_sequence();
    if (ids.empty()) fail("the prompt is empty", "give --add-bos, so that a text begins there, or a prompt");
    if (std::ssize(ids) >= longest)
      fail(fmt::format("{} tokens, the model takes {} with what it writes", ids.size(), longest),
           "shorten the prompt");
    const auto unknown =
        std::ranges::find_if(ids, [&](std::int32_t id) { return id >= rules_.config.vocab_size; });
    if (unknown != ids.end())
      fail(fmt::format("the tokenizer gives the id {}, the model has {}", *unknown, rules_.config.vocab_size),
           "use the tokenizer of this model");
    prompts_.add(std::move(ids), std::move(stop), limit);
  }

  void need_tokenizer(const std::string& otherwise, const std::string& remedy) const {
    if (rules_.tokenizer != nullptr) return;
    if (rules_.refused) throw InputError(*rules_.refused);
    fail(otherwise, remedy);
  }

  [[noreturn]] void fail(const std::string& what, const std::string& remedy) const {
    throw InputError(what, where_, remedy);
  }

  const std::filesystem::path& path_;
  const PromptRules& rules_;
  std::string where_;
  Prompts prompts_;
};

}  // namespace

Prompts read_prompts(const std::filesystem::path& path, const PromptRules& rules) {
  return PromptReader(path, rules).read();
}

}  // namespace galapagos::app
