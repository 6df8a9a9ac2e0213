#include "io/input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <memory>

#include <galapagos/core/json.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/continued_text.hpp>
#include <galapagos/io/end_ids.hpp>
#include <galapagos/io/tokenizer.hpp>

using namespace galapagos;
using test::contains;
using test::input_error;

namespace {

using Ids = std::vector<std::int32_t>;

/// What a text's tokens say, one by one: how many of them it takes until there is a word, and the text.
struct Said {
  std::size_t tokens;
  std::string text;
  bool operator==(const Said&) const = default;
};

Said said(const TextDecoder& decoder, const Ids& prompt, const Ids& ids,
          const std::vector<std::string>& words) {
  ContinuedText text(decoder, prompt, words);
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (text.push(ids[i])) return {i + 1, text.text()};
  return {0, text.text()};
}

}  // namespace

TEST_CASE("a text behind a prompt is what stands there, up to the first word", "[tokenizer]") {
  for (const char* base : {"models/llama2_tiny/tokenizer.json", "models/llama2_tiny/tokenizer.model",
                           "models/llama3_tiny", "models/qwen2_tiny"}) {
    CAPTURE(base);
    const auto tokenizer = Tokenizer::load(test::data_file(base));
    const auto decoder = tokenizer->decoder();
    for (const std::string start :
         {"The finch", "The finch feeds on the island and rests near the lava again. A"}) {
      const Ids all = tokenizer->encode(start + " feeds, it rests \xE6\xB5\xB7.");
      const Ids prompt = tokenizer->encode(start);
      REQUIRE(Ids(all.begin(), all.begin() + std::ssize(prompt)) == prompt);
      const Ids ids(all.begin() + std::ssize(prompt), all.end());
      CHECK(said(*decoder, prompt, ids, {}) == Said{0, " feeds, it rests \xE6\xB5\xB7."});
      CHECK(said(*decoder, prompt, ids, {"cactus"}) == Said{0, " feeds, it rests \xE6\xB5\xB7."});
      const Said stopped = said(*decoder, prompt, ids, {"rests", "ds, it"});
      CHECK(stopped.text == " fee");
      CHECK((stopped.tokens > 1 && stopped.tokens < ids.size()));
      CHECK(said(*decoder, prompt, ids, {" "}) == Said{1, ""});
      CHECK(said(*decoder, prompt, ids, {"\xE6\xB5\xB7"}).text == " feeds, it rests ");
      CHECK(said(*decoder, prompt, ids, {start}).tokens == 0);  // the prompt's own words are none
    }
  }
}

TEST_CASE("bytes at a prompt's end are not the text's", "[tokenizer]") {
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama2_tiny/tokenizer.json"));
  const auto decoder = tokenizer->decoder();
  const std::int32_t newline = 13;
  Ids prompt = tokenizer->encode("The finch");
  prompt.push_back(newline);
  const Ids ids = {newline, tokenizer->encode("rests").back()};
  const Said found = said(*decoder, prompt, ids, {"\n"});
  CHECK(found == Said{1, ""});
  CHECK(said(*decoder, prompt, ids, {}).text.starts_with("\n"));
}

TEST_CASE("what ends a text stands in one of two files", "[config]") {
  const test::TemporaryFolder folder;
  HfConfig config;
  config.vocab_size = 100;
  CHECK(read_end_ids(folder.path(), config).empty());
  config.eos_id = 2;
  CHECK(read_end_ids(folder.path(), config) == Ids{2});
  config.source = Json::parse(R"({"eos_token_id": [2, 7]})");
  CHECK(read_end_ids(folder.path(), config) == Ids{2, 7});
  const auto with = [&](const char* generation) {
    test::write_text(folder / "generation_config.json", generation);
    return read_end_ids(folder.path(), config);
  };
  CHECK(with(R"({"eos_token_id": [9, 2]})") == Ids{9, 2});
  CHECK(with(R"({"eos_token_id": 5, "temperature": NaN})") == Ids{5});
  CHECK(with(R"({"eos_token_id": null})") == Ids{2, 7});
  CHECK(with(R"({"temperature": 1})") == Ids{2, 7});
  CHECK(with(R"({"eos_token_id": -1})").empty());
  CHECK(with(R"({"eos_token_id": [100, 3]})") == Ids{3});
  CHECK(contains(input_error([&] { with(R"({"eos_token_id": "</s>"})"); }), "no id"));
  CHECK(contains(input_error([&] { with("{"); }), "generation_config.json"));
}

TEST_CASE("a conversation is laid out for its answer", "[chat]") {
  const test::TemporaryFolder folder;
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  test::write_text(folder / "t.jinja",
                   "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                   "{% if add_generation_prompt %}<assistant>{% endif %}");
  const auto chat = load_chat_template(folder.path(), (folder / "t.jinja").string(), *tokenizer);
  REQUIRE(chat);
  CHECK(chat_prompt(*chat, R"({"messages": [{"role": "user", "content": "How old?"}]})", "here") ==
        "<user>How old?<assistant>");
  CHECK(contains(input_error([&] { chat_prompt(*chat, R"({"messages": 3})", "line 4"); }), "line 4"));
  CHECK(contains(input_error([&] { chat_prompt(*chat, R"({"text": "a"})", "line 4"); }), "messages"));
}
