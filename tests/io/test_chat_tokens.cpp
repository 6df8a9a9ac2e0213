#include "support/catch.hpp"
#include "support/files.hpp"

#include <memory>

#include <galapagos/core/json.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/token_source.hpp>

using namespace galapagos;
using Ids = std::vector<std::int32_t>;

// Runs on every rank: CHECK only, so that no rank leaves the others alone in a collective.

namespace {

const Json& goldens() {
  static const Json json = read_json(test::data_file("chat/templates.json"));
  return json;
}

/// A conversation of the goldens, tokenized for a model by a template, with what counts as response.
TokenSet tokens_of(const Communicator& comm, const Json& given, std::optional<std::int32_t> bos = {}) {
  const test::TemporaryFolder folder;
  const Json record = {{"messages", goldens()["conversations"][given["conversation"].get<std::string>()]}};
  test::write_text(folder / "a.jsonl", record.dump() + "\n");
  test::write_text(folder / "t.jinja", goldens()["templates"][given["template"].get<std::string>()]);
  const std::filesystem::path model = test::data_file("models/" + given["model"].get<std::string>());
  const auto tokenizer = Tokenizer::load(model);
  SequenceOptions options = {100'000, 0, bos};
  options.responses_only = true;
  options.text.chat = load_chat_template(model, (folder / "t.jinja").string(), *tokenizer);
  return load_sequences(comm, {folder / "a.jsonl"}, tokenizer.get(), options, 768);
}

Ids counted(const TokenSet& set) {
  Ids ids;
  for (std::size_t i = 0; i < set.tokens.size(); ++i) {
    if (set.in_loss[i] != 0) ids.push_back(set.tokens[i]);
  }
  return ids;
}

}  // namespace

TEST_CASE("conversations become the ids that transformers makes of them", "[chat]") {
  const auto world = Communicator::world();
  for (const Json& given : goldens()["ids"]) {
    CAPTURE(given["model"], given["template"], given["conversation"]);
    const TokenSet set = tokens_of(world, given);
    CHECK(set.tokens == given["ids"].get<Ids>());
    if (given.contains("assistant"))
      CHECK(set.in_loss == given["assistant"].get<std::vector<std::uint8_t>>());
  }
}

TEST_CASE("the assistant's tokens are found as a template that marks them does", "[chat]") {
  const auto world = Communicator::world();
  for (const char* conversation : {"one", "turns", "tags", "system"}) {
    CAPTURE(conversation);
    Json given = {{"model", "qwen2_tiny"}, {"conversation", conversation}, {"template", "marked"}};
    const Ids marked = counted(tokens_of(world, given));
    CHECK(!marked.empty());
    given["template"] = "chatml";
    CHECK(counted(tokens_of(world, given)) == marked);
  }
}

TEST_CASE("a long conversation's answers are found without encoding it anew for each", "[chat]") {
  const test::TemporaryFolder folder;
  Json messages = Json::array();
  for (int i = 0; i < 2000; ++i) {
    messages.push_back({{"role", "user"}, {"content", "Ask " + std::to_string(i)}});
    messages.push_back({{"role", "assistant"}, {"content", "Answer " + std::to_string(i)}});
  }
  test::write_text(folder / "t.jinja", goldens()["templates"]["marked"]);
  const std::filesystem::path model = test::data_file("models/qwen2_tiny");
  const auto tokenizer = Tokenizer::load(model);
  SequenceOptions options = {1'000'000, 0, {}};
  options.responses_only = true;
  options.text.chat = load_chat_template(model, (folder / "t.jinja").string(), *tokenizer);
  test::write_text(folder / "a.jsonl", Json{{"messages", messages}}.dump() + "\n");
  const auto world = Communicator::world();
  const TokenSet set = load_sequences(world, {folder / "a.jsonl"}, tokenizer.get(), options, 768);
  Ids expected;
  for (int i = 0; i < 2000; ++i) {
    const Ids ids = tokenizer->encode("Answer " + std::to_string(i) + "<|im_end|>");
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  CHECK(counted(set) == expected);
}

TEST_CASE("BOS goes in front once, whether a template prints it or not", "[chat]") {
  const auto world = Communicator::world();
  Json given = {{"model", "llama2_tiny"}, {"conversation", "one"}, {"template", "llama2"}};
  CHECK(tokens_of(world, given, 1).tokens == tokens_of(world, given).tokens);
  given["template"] = "zephyr";
  const Ids plain = tokens_of(world, given).tokens, with_bos = tokens_of(world, given, 1).tokens;
  CHECK(with_bos.front() == 1);
  CHECK(Ids(with_bos.begin() + 1, with_bos.end()) == plain);
}
