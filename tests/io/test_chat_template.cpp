#include "io/chat_folder.hpp"

using namespace galapagos;
using test::ChatFolder;
using test::contains;
using test::Documents;
using test::input_error;

namespace {

const Json& goldens() {
  static const Json json = read_json(test::data_file("chat/templates.json"));
  return json;
}

/// What counts of a conversation in a family's template.
std::vector<std::string> responses(const std::string& family, const Json& messages) {
  const ChatFolder folder(goldens()["tokens"], goldens()["templates"][family]);
  const auto documents =
      folder.parts({{"messages", messages}}, folder.options((folder.folder / "t.jinja").string()), true);
  std::vector<std::string> found;
  for (const TextPart& part : documents.at(0)) {
    CHECK(part.joined);
    if (part.response) found.push_back(part.text);
  }
  return found;
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

using Texts = std::vector<std::string>;

const Json user = {{"role", "user"}, {"content", "Hi there"}};
const Json answer = {{"role", "assistant"}, {"content", "Hello you"}};
const Json turns = {user, answer, user, {{"role", "assistant"}, {"content", "Hello"}}};

}  // namespace

TEST_CASE("chat templates print what transformers prints", "[chat]") {
  for (const Json& given : goldens()["cases"]) {
    CAPTURE(given["template"], given["conversation"]);
    const ChatFolder folder(goldens()["tokens"],
                            goldens()["templates"][given["template"].get<std::string>()]);
    const TextOptions options = folder.options((folder.folder / "t.jinja").string());
    const Json record = {{"messages", goldens()["conversations"][given["conversation"].get<std::string>()]},
                         {"chat_template_kwargs", {{"add_generation_prompt", given["prompt"]}}}};
    if (given.contains("error")) {
      CHECK(contains(input_error([&] { folder.text(record, options); }), "the chat template of"));
    } else {
      CHECK(folder.text(record, options) == given["text"].get<std::string>());
    }
    if (!given.contains("generated")) continue;
    std::string marked, found;
    for (const Json& span : given["generated"])
      marked += given["text"].get<std::string>().substr(
          span[0], span[1].get<std::size_t>() - span[0].get<std::size_t>());
    const auto documents = folder.parts(record, options, true);
    for (const TextPart& part : documents.at(0)) found += part.response ? part.text : "";
    CHECK(found == marked);
  }
}

TEST_CASE("what an assistant says and the end of its turn are responses", "[chat]") {
  CHECK(responses("chatml", turns) ==
        Texts{"Hello you", "Hello"});  // <|im_end|> is no token of this tokenizer
  CHECK(responses("llama2", turns) == Texts{" Hello you </s>", " Hello </s>"});
  CHECK(responses("mistral", turns) == Texts{" Hello you</s>", " Hello</s>"});
  CHECK(responses("zephyr", turns) == Texts{"Hello you</s>", "Hello</s>"});
  CHECK(responses("marked", turns) == Texts{"Hello you<|im_end|>", "Hello<|im_end|>"});
  CHECK(responses("deepseek", turns) == Texts{"Hello you", "Hello"});
  const Json thought = {{"role", "assistant"}, {"content", "<think>\nWell.\n</think>\n\nYes."}};
  CHECK(responses("thinking", {user, thought, user, thought}) ==
        Texts{"Yes.", "<think>\nWell.\n</think>\n\nYes."});
  CHECK(responses("thinking", {user, thought, user, answer}) ==
        Texts{"Yes.", "<think>\n\n</think>\n\nHello you"});
  const Json call = {
      {"role", "assistant"},
      {"tool_calls", Json::array({{{"function", {{"name", "f"}, {"arguments", {{"x", 1}}}}}}})}};
  CHECK(responses("llama3", {user, call, {{"role", "tool"}, {"content", "3"}}, answer}) ==
        Texts{"{\"name\": \"f\", \"parameters\": {\"x\": 1}}<|eot_id|>", "Hello you"});
  CHECK(responses("gemma", {user, {{"role", "assistant"}, {"content", " \n"}}, user, answer}) ==
        Texts{"Hello you"});
  const Json same = {{"role", "assistant"}, {"content", "Hi there"}};
  CHECK(responses("chatml", {user, same, user, same}) == Texts{"Hi there", "Hi there"});
}

TEST_CASE("the last character of an answer is a response, whatever its bytes are", "[chat]") {
  const auto says = [](const std::string& content) {
    return Json{user, {{"role", "assistant"}, {"content", content}}};
  };
  for (const char* content :
       {"中文", "врач", "ć", "…", "“x”", "\u2047", "ключ", "\ue001", "\u2047\ue001", "⁇中文"}) {
    CAPTURE(content);
    CHECK(responses("zephyr", says(content)) == Texts{content + std::string("</s>")});
    CHECK(responses("mistral", says(content)) == Texts{" " + std::string(content) + "</s>"});
  }
  Json calls_nothing = answer;
  calls_nothing["tool_calls"] = Json::array();
  CHECK(responses("zephyr", {user, calls_nothing}) == Texts{"Hello you</s>"});
}

TEST_CASE("a template is looked for where transformers looks, or chosen", "[chat]") {
  const Json record = {{"messages", {user, answer}}};
  const auto print = [](const std::string& text) { return "{{ '" + text + "' + messages[0].content }}"; };
  CHECK(ChatFolder().options().chat == nullptr);
  CHECK(ChatFolder().text(record, {}) == "Hi thereHello you");
  ChatFolder folder(Json::object({{"chat_template", print("config ")}, {"bos_token", nullptr}}));
  CHECK(folder.text(record, folder.options()) == "config Hi there");
  CHECK(folder.options("none").chat == nullptr);
  test::write_text(folder.folder / "chat_template.jinja", print("file "));
  CHECK(folder.text(record, folder.options()) == "file Hi there");
  CHECK(folder.text(record, folder.options("default")) == "file Hi there");
  std::filesystem::create_directory(folder.folder / "additional_chat_templates");
  test::write_text(folder.folder / "additional_chat_templates/tool_use.jinja",
                   print("tools ") + "{{ tools | tojson }}");
  CHECK(folder.text(record, folder.options()) == "file Hi there");
  CHECK(folder.text(record, folder.options("tool_use")) == "tools Hi therenull");
  Json with_tools = record;
  with_tools["tools"] = Json::array({{{"name", "f"}}});
  CHECK(folder.text(with_tools, folder.options()) == "tools Hi there[{\"name\": \"f\"}]");
  with_tools["tools"] = "[{\"name\": \"f\"}]";
  CHECK(folder.text(with_tools, folder.options()) == "tools Hi there[{\"name\": \"f\"}]");
  const Json named = {{{"name", "a"}, {"template", print("a ")}}, {{"name", "b"}, {"template", print("b ")}}};
  const ChatFolder several(Json::object({{"chat_template", named}}));
  CHECK(several.text(record, several.options("b")) == "b Hi there");
  CHECK(contains(input_error([&] { several.text(record, several.options()); }),
                 "choose one by --chat-template NAME: a, b"));
  try {
    several.options("c");
    CHECK(false);
  } catch (const UsageError& error) {
    CHECK(contains(error.what(), "no chat template 'c'"));
  }
  const ChatFolder json;
  test::write_text(json.folder / "chat_template.json", Json{{"chat_template", print("json ")}}.dump());
  CHECK(json.text(record, json.options()) == "json Hi there");
}

TEST_CASE("a template that cannot be run is refused by what it uses", "[chat]") {
  const Json record = {{"messages", {user, answer}}};
  const auto error = [&](const std::string& source) {
    const ChatFolder folder(Json::object({{"chat_template", source}}));
    const TextOptions options = folder.options();
    // Only where it is needed.
    test::write_text(folder.folder / "b.jsonl", "{\"text\": \"x\"}\n");
    CHECK(test::read_all(folder.folder / "b.jsonl", options) == Documents{"x"});
    return input_error([&] { folder.text(record, options); });
  };
  CHECK(contains(error("a\n{% include 'x' %}"), "the statement 'include' is not supported (line 2)"));
  CHECK(contains(error("{{ x | wordwrap }}"), "the filter 'wordwrap' is not supported (line 1)"));
  CHECK(contains(error("{{ x is upper }}"), "the test 'upper' is not supported"));
  CHECK(contains(error("{% if x %}"), "'endif' is missing"));
  CHECK(contains(error("{{ x"), "a tag without its end"));
  CHECK(contains(error("{{ x }"), "a tag without its end"));
  CHECK(contains(error("{{ 'x }}"), "a text without its end"));
  CHECK(contains(error("{% endif %}"), "without its beginning"));
  CHECK(contains(error("{% for x in y recursive %}{% endfor %}"), "recursive"));
  CHECK(contains(error("{{ messages }}"), "prints a list"));
  CHECK(contains(error("{{ messages[0].content.format(1) }}"),
                 "calls 'format', which is not supported or undefined"));
  CHECK(contains(error("{{ raise_exception('No!') }}"), "refuses the conversation: No!"));
  CHECK(contains(error("{{ 'a' + 1 }}"), "computes a text + a number"));
  CHECK(contains(error("{{ (messages[0].content | safe) + 'x' }}"), "safe"));
  CHECK(contains(error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "too deeply"));
  CHECK(contains(error("{{ " + std::string(300, '(') + "1" + std::string(300, ')') + " }}"),
                 "nested too deeply"));
  CHECK(contains(error("{{ 1" + repeated(" + 1", 50'000) + " }}"), "an expression too long"));
  CHECK(contains(error(repeated("{% if 1 %}", 300)), "nested too deeply"));
  CHECK(contains(error("{% for i in range(1000000) %}{% endfor %}"), "too many"));
  CHECK(contains(error("{{ x | wordwrap }}"), "--chat-template none"));
}

TEST_CASE("conversations as others store them", "[chat]") {
  const ChatFolder folder(goldens()["tokens"], goldens()["templates"]["mistral"]);
  const TextOptions options = folder.options((folder.folder / "t.jinja").string());
  const Json shared = {{{"from", "human"}, {"value", "Hi"}}, {{"from", "gpt"}, {"value", "Yes"}}};
  CHECK(folder.text({{"conversations", shared}}, options) == "<s>[INST] Hi![/INST] Yes</s>");
  TextOptions by_key = options;
  by_key.text_key = "chat.turns";
  CHECK(folder.text({{"chat", {{"turns", shared}}}}, by_key) == "<s>[INST] Hi![/INST] Yes</s>");
  const auto error = [&](const Json& messages, const TextOptions& with) {
    return input_error([&] { folder.text({{"messages", messages}}, with); });
  };
  CHECK(contains(error(Json::array({{{"from", "narrator"}, {"value", "Hi"}}}), options), "from 'narrator'"));
  CHECK(contains(error(Json::array({{{"content", "Hi"}}}), options), "missing key 'role'"));
  CHECK(contains(error(Json::array({"Hi"}), options), "a message is no object"));
  CHECK(contains(error("Hi", options), "a conversation is no list"));
  CHECK(contains(error(Json::array(), options), "without a message"));
  CHECK(
      contains(error(Json::array({{{"role", "user"}, {"content", nullptr}}}), {}), "missing key 'content'"));
  CHECK(contains(error(Json::array({{{"role", "user"}, {"content", 3}}}), {}),
                 "should be a string but is a number"));
}

TEST_CASE("numbers, tools and settings of a conversation are read strictly", "[chat]") {
  const ChatFolder folder(Json::object(), "{{ messages[0].n | tojson }} {{ tools | tojson }}");
  const TextOptions options = folder.options((folder.folder / "t.jinja").string());
  const auto read = [&](const std::string& number, const std::string& more, const TextOptions& with) {
    test::write_text(folder.folder / "a.jsonl", R"({"messages": [{"role": "user", "content": "c", "n": )" +
                                                    number + "}]" + more + "}\n");
    return test::read_all(folder.folder / "a.jsonl", with).at(0);
  };
  const auto error = [&](const std::string& number, const std::string& more) {
    CHECK(read("1", more, {}) == "c");  // only a template reads them
    return input_error([&] { read(number, more, options); });
  };
  CHECK(read("-0", "", options) == "0 null");
  CHECK(read("[9223372036854775807, 1.50e2, -1E-2, NaN, -Infinity]", "", options) ==
        "[9223372036854775807, 150.0, -0.01, NaN, -Infinity] null");
  for (const char* number : {"007", "0x10", "+5", "1.", ".5", "-", "1e", "nan", "1_0"}) {
    CAPTURE(number);
    CHECK(contains(error(number, ""), "is no JSON"));
  }
  for (const char* number : {"9223372036854775808", "-9223372036854775809", "1e999"}) {
    CAPTURE(number);
    CHECK(contains(error(number, ""), "beyond 64 bits"));
  }
  for (const char* tools : {"null", "\"\"", "\" \"", "[]", "\"null\"", "\"\\n[]\""})
    CHECK(read("1", std::string(", \"tools\": ") + tools, options) == "1 null");
  CHECK(read("1", R"(, "tools": " [{\"a\": 1}]\n")", options) == "1 [{\"a\": 1}]");
  CHECK(contains(error("1", R"(, "tools": "none")"), "key 'tools' should be a list but is 'none'"));
  CHECK(contains(error("1", R"(, "tools": {"a": 1})"), "key 'tools' should be a list but is an object"));
  CHECK(contains(error("1", R"(, "tools": "[1")"), "key 'tools': "));
  CHECK(contains(error("1", R"(, "chat_template_kwargs": {"messages": []})"),
                 "'messages', which is no setting"));
  CHECK(contains(error("1", R"(, "chat_template_kwargs": 5)"), "should be an object but is a number"));
  CHECK(read("1", R"(, "chat_template_kwargs": null)", options) == "1 null");
  std::string many;
  for (int i = 0; i < 60'000; ++i) many += "\"k" + std::to_string(i) + "\": 1, ";
  CHECK(read("{" + many + R"("k": 1, "k": 2})", "", options).ends_with(R"(, "k": 2} null)"));
}

TEST_CASE("what is wrong with a template or its tokens is told with the first conversation", "[chat]") {
  const Json record = {{"messages", {user, answer}}};
  const auto error = [&](const ChatFolder& folder) {
    const TextOptions options = folder.options();
    test::write_text(folder.folder / "b.jsonl", "{\"text\": \"x\"}\n");
    CHECK(test::read_all(folder.folder / "b.jsonl", options) == Documents{"x"});
    return input_error([&] { folder.text(record, options); });
  };
  const ChatFolder latin;
  test::write_text(latin.folder / "chat_template.jinja", "caf\xe9 {{ messages[0].content }}");
  CHECK(contains(error(latin), "is not UTF-8"));
  CHECK(contains(error(ChatFolder(Json::object({{"chat_template", 3}}))), "chat_template"));
  CHECK(contains(error(ChatFolder(Json::object({{"chat_template", "x"}, {"eos_token", "<none>"}}))),
                 "tokens like <none>, which this tokenizer does not see"));
  Json twice = read_json(test::data_file("models/qwen2_tiny/tokenizer.json"));
  for (auto& [text, id] : twice["model"]["vocab"].items()) {
    if (id == 6) id = 5;
  }
  const ChatFolder same(Json::object({{"chat_template", "x"}}));
  test::write_text(same.folder / "tokenizer.json", twice.dump());
  TextOptions options;
  options.chat = load_chat_template(same.folder.path(), "", *Tokenizer::load(same.folder.path()));
  CHECK(contains(input_error([&] { same.text(record, options); }), "two tokens have the id 5"));
  // Of those that no template here prints, nothing is asked.
  const ChatFolder padded(Json::object(
      {{"chat_template", "{{ messages[0].content }}"}, {"pad_token", "[PAD]"}, {"eos_token", "</s>"}}));
  test::write_text(padded.folder / "config.json", "{\"eos_token_id\": 1000000}");
  CHECK(padded.text(record, padded.options()) == "Hi there");
}

TEST_CASE("what a template prints has its special tokens by a SentencePiece model, too", "[chat]") {
  const ChatFolder folder(Json::object({{"bos_token", "<s>"}, {"chat_template", "{{ bos_token }}a"}}));
  const auto pieces = Tokenizer::load(test::data_file("models/llama2_tiny/tokenizer.model"));
  TextOptions options;
  options.chat = load_chat_template(folder.folder.path(), "", *pieces);
  CHECK(folder.text({{"messages", {user}}}, options) == "<s>a");
  CHECK(pieces->encode("<s>a") == std::vector<std::int32_t>{1, 539});
}
