#include "generate_command.hpp"
#include "io/documents.hpp"
#include "small_command.hpp"
#include "support/refusal.hpp"

#include <set>

using namespace galapagos;
using test::generated;
using test::run_galapagos;
using test::write_prompts;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Ids = std::vector<std::int32_t>;

const std::string bos_text = "<|begin_of_text|>";

const fs::path& tiny() {
  static const fs::path folder = test::data_file("models/tiny");
  return folder;
}

}  // namespace

TEST_CASE("a conversation is laid out by the template, which says where BOS belongs", "[app]") {
  const test::TemporaryFolder folder;
  const fs::path model = folder / "model";
  fs::copy(tiny(), model);
  Json settings = read_json(model / "tokenizer_config.json");
  const std::string layout =
      "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
      "{% if mood is defined %}({{ mood }}) {% endif %}"
      "{% if add_generation_prompt %}assistant:{% endif %}";
  settings["chat_template"] = "{{ bos_token }}" + layout;
  test::write_text(model / "tokenizer_config.json", settings.dump());
  test::write_text(folder / "bare.jinja", "# " + layout);
  const Json messages = {{{"role", "system"}, {"content", "Be brief."}},
                         {{"role", "user"}, {"content", "Who helped Arvid?"}}};
  const std::string text = "system: Be brief.\nuser: Who helped Arvid?\n";
  const std::vector<Json> records = {
      {{"messages", messages}},
      {{"prompt", bos_text + text + "assistant:"}},
      {{"messages", messages}, {"chat_template_kwargs", {{"mood", "glad"}}}, {"max_new_tokens", 5}},
      {{"prompt", bos_text + text + "(glad) assistant:"}, {"max_new_tokens", 5}},
      {{"prompt", text + "assistant:"}},
      {{"prompt", "# " + text + "assistant:"}},
  };
  const std::string plain = write_prompts(folder / "p.jsonl", records), packed = (folder / "p.gz").string();
  test::write_text(packed, test::gzip(read_file(plain)));
  const auto ids_of = [&](const Words& more, int ranks = 1, const std::string& prompts = {}) {
    Words all = {"--prompts", prompts.empty() ? plain : prompts, "--max-new-tokens", "12"};
    all.insert(all.end(), more.begin(), more.end());
    std::vector<Ids> ids;
    for (const Json& line : generated(model, folder / "o.jsonl", all, ranks)) ids.push_back(line.at("ids"));
    REQUIRE(ids.size() == records.size());
    return ids;
  };
  const std::vector<Ids> usual = ids_of({});
  CHECK(std::set<Ids>{usual[0], usual[2], usual[4], usual[5]}.size() == 4);  // what is compared differs
  CHECK(usual[0] == usual[1]);
  CHECK(usual[2] == usual[3]);
  CHECK(ids_of({}, 1, packed) == usual);
  const std::vector<Ids> with_bos = ids_of({"--add-bos"}, 2);
  CHECK(with_bos[0] == usual[0]);
  CHECK(with_bos[2] == usual[2]);
  CHECK(with_bos[4] == usual[0]);
  CHECK(ids_of({"--chat-template", (folder / "bare.jinja").string()})[0] == usual[5]);
}

TEST_CASE("documents of any text that we read are prompts", "[app]") {
  const test::TemporaryFolder folder;
  const std::string first = "In 1791\nwere counted", second = "The pupil that Arvid had helped";
  const std::string lines = write_prompts(folder / "p.jsonl", {{{"prompt", first}}, {{"prompt", second}}});
  test::write_text(folder / "p.txt", first);
  test::write_text(folder / "p.json", Json{{{"body", first}, {"n", 1}}, {{"body", second}}}.dump());
  const auto written = [&](const std::string& prompts, const Words& more = {}, int ranks = 1) {
    Words words = {"--prompts", prompts, "--max-new-tokens", "9", "--stop", "zzz"};
    words.insert(words.end(), more.begin(), more.end());
    return generated(tiny(), folder / "o.jsonl", words, ranks);
  };
  const std::vector<Json> wanted = written(lines);
  REQUIRE(wanted.size() == 2);
  CHECK(wanted[0].at("ids").size() == 9);
  CHECK(wanted[0].at("ids") != wanted[1].at("ids"));
  CHECK(written((folder / "p.txt").string()) == std::vector<Json>{wanted[0]});
  CHECK(written((folder / "p.json").string(), {"--text-key", "body"}, 2) == wanted);
  const std::vector<Json> with_bos = written((folder / "p.txt").string(), {"--add-bos"});
  CHECK(with_bos == std::vector<Json>{written(lines, {"--add-bos"})[0]});
  CHECK(with_bos[0].at("ids") != wanted[0].at("ids"));
}

TEST_CASE("records are prompts with all their keys in any file that holds them", "[app]") {
  const test::TemporaryFolder folder;
  const std::vector<Json> records = {{{"prompt", "In 1791\nwere counted"}, {"max_new_tokens", 3}},
                                     {{"ids", {5, 6, 7}}, {"max_new_tokens", nullptr}},
                                     {{"text", "The pupil that Arvid had helped"}, {"stop", {"e", "zzz"}}}};
  const std::string lines_name = write_prompts(folder / "p.jsonl", records), lines = read_file(lines_name);
  const auto written = [&](const std::string& prompts, const Words& more = {}, int ranks = 1) {
    Words words = {"--prompts", prompts, "--max-new-tokens", "9"};
    words.insert(words.end(), more.begin(), more.end());
    return generated(tiny(), folder / "o.jsonl", words, ranks);
  };
  const std::vector<Json> wanted = written(lines_name);
  REQUIRE(wanted.size() == 3);
  CHECK(wanted[0].at("ids").size() == 3);
  CHECK(wanted[1].at("ids").size() == 9);
  CHECK(wanted[2].at("stop") == "stop");
  const std::vector<std::pair<std::string, std::string>> files = {
      {"a.jsonl.gz", test::gzip(lines)},    {"a.jsonl.zst", test::zstd(lines)},
      {"a.json", Json(records).dump(2)},    {"b.json", lines},
      {"a.ndjson", "\xef\xbb\xbf" + lines}, {"a", lines}};
  for (const auto& [name, content] : files) {
    CAPTURE(name);
    test::write_text(folder / name, content);
    CHECK(written((folder / name).string(), {}, name == "a.json" ? 2 : 1) == wanted);
  }
  const Json named = {{"body", records[0].at("prompt")}, {"url", "x"}, {"max_new_tokens", 3}};
  test::write_text(folder / "named.zst", test::zstd(named.dump()));
  CHECK(written((folder / "named.zst").string(), {"--text-key", "body"}) == std::vector<Json>{wanted[0]});
}

TEST_CASE("nothing of a prompt is passed over in silence", "[app]") {
  const test::TemporaryFolder folder;
  std::vector<test::Refusal> refusals;
  const fs::path output = folder / "out.jsonl";
  const auto refuse = [&](const Words& more, int code, const std::string& reason) {
    refusals.push_back(
        {[=](int) { return test::generate_words(tiny(), output, more); }, code, reason, output});
  };
  const auto refuse_file = [&](const std::string& name, const std::string& content, const std::string& reason,
                               const Words& more = {}) {
    test::write_text(folder / name, content);
    Words words = {"--prompts", (folder / name).string()};
    words.insert(words.end(), more.begin(), more.end());
    refuse(words, 3, reason);
  };
  const Words by_key = {"--text-key", "body"};
  refuse_file("a.jsonl.gz", test::gzip("{\"prompt\": \"a\"}\n{\"prompt\": \"a\", \"max_tokens\": 4}\n"),
              "the key 'max_tokens' means nothing here [" + (folder / "a.jsonl.gz").string() + ", line 2]");
  refuse_file("a.json", R"([{"prompt": "a"}, {"text": "b", "url": "c"}])", "a.json, record 2, line 1]");
  refuse_file("list.json", R"([{"prompt": "a"}, "b"])", "is no JSON object");
  refuse_file("cut.json", R"([{"prompt": "a"},)", "cut.json");
  refuse_file("cut.gz", test::gzip("{\"prompt\": \"a\"}\n").substr(0, 25), "ends too early");
  refuse_file("bare", R"({"prompt": "a", "response": "b"})", "the key 'response' means nothing here");
  refuse_file("one.ndjson", R"({"body": "a", "max_new_tokens": 0})", "max_new_tokens", by_key);
  refuse_file("chat.jsonl", R"({"body": [{"role": "user", "content": "a"}]})", "'body' is a conversation",
              by_key);
  refuse_file("none.jsonl", R"({"text": "a"})", "correct the record, or name another key", by_key);
  refuse_file("latin.txt", "caf\xe9", "not UTF-8 in 1 places");
  refuse_file("latin.jsonl", "{\"prompt\": \"caf\xe9\"}\n", "latin.jsonl, line 1");
  test::write_text(folder / "good.jsonl", "{\"prompt\": \"a\"}\n");
  refuse({"--prompts", (folder / "good.jsonl").string(), "--skip-bad-lines", "1"}, 2,
         "no prompt is passed over");
  refuse({"--samples", "2", "--text-key", "body"}, 2, "no text is read [--text-key]");
  test::check_refused(refusals);
}

TEST_CASE("levels of a database write what the stitched model writes", "[app]") {
  const test::TemporaryFolder folder;
  const fs::path model = test::data_file("models/llama3_tiny");
  const std::string database = (folder / "x.h5").string(), assignment = (folder / "a.txt").string();
  REQUIRE(run_galapagos(1, test::database_words(database)).code == 0);
  std::string levels;
  for (int layer = 0; layer < 4; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer);
    levels += prefix + ".mlp.down_proj: " + std::to_string(layer == 1 ? 8 : layer + 2) + "\n" + prefix +
              ".self_attn.o_proj: " + std::to_string(layer == 2 ? 8 : layer + 1) + "\n";
  }
  test::write_text(assignment, levels);
  const Words pruned = {"--database", database, "--assignment", assignment};
  Words stitch = {"stitch", "--model", model.string(), "--output", (folder / "new").string()};
  stitch.insert(stitch.end(), pruned.begin(), pruned.end());
  const test::Ended stitched = run_galapagos(1, stitch);
  INFO(stitched.errors);
  REQUIRE(stitched.code == 0);
  const Words prompts = {"--prompts",
                         write_prompts(folder / "p.jsonl", {{{"prompt", "The finch"}},
                                                            {{"ids", {5, 6, 7}}, {"max_new_tokens", 3}},
                                                            {{"prompt", "In 1791"}, {"stop", "e"}}}),
                         "--max-new-tokens", "16"};
  Words in_memory = prompts;
  in_memory.insert(in_memory.end(), pruned.begin(), pruned.end());
  const std::vector<Json> wanted = generated(folder / "new", folder / "o.jsonl", prompts);
  REQUIRE(wanted.size() == 3);
  CHECK(wanted[0].at("ids").size() == 16);
  CHECK(generated(model, folder / "m.jsonl", in_memory) == wanted);
  in_memory.insert(in_memory.end(), {"--shards", "2"});
  CHECK(generated(model, folder / "s.jsonl", in_memory, 2) == wanted);
  CHECK(generated(model, folder / "d.jsonl", prompts) != wanted);
}
