#include "generate_command.hpp"
#include "support/refusal.hpp"

using namespace galapagos;
using test::lines_of;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

Words generate_words(const fs::path& output, const Words& more, const std::string& model = "llama3_tiny") {
  return test::generate_words(test::data_file("models/" + model), output, more);
}

}  // namespace

TEST_CASE("texts behind prompts are the same for any ranks, and are calibration text", "[app]") {
  const test::TemporaryFolder folder;
  const std::string prompts = (folder / "prompts.jsonl").string();
  test::write_text(
      prompts,
      "{\"prompt\": \"The finch\"}\n\n{\"text\": \"Again and again the iguana swims.\", "
      "\"max_new_tokens\": 3}\n{\"ids\": [5, 6, 7]}\n{\"prompt\": \"A\", \"stop\": [\"zzz\"]}\n");
  const auto run = [&](int ranks, const std::string& name, Words more) {
    more.insert(more.end(), {"--prompts", prompts, "--max-new-tokens", "12"});
    const test::Ended ended = run_galapagos(ranks, generate_words(folder / name, more));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(test::count_lines(ended.errors, "4 texts; ") == 1);
    return read_file(folder / name);
  };
  const std::string alone = run(1, "1.jsonl", {});
  CHECK(run(3, "3.jsonl", {"--batch", "2"}) == alone);
  CHECK(run(2, "2.jsonl", {"--shards", "2"}) == alone);
  const std::vector<Json> lines = lines_of(folder / "1.jsonl");
  REQUIRE(lines.size() == 4);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CHECK(lines[i].at("index") == i);
    CHECK(lines[i].at("ids").size() == (i == 1 ? 3 : 12));
    CHECK(lines[i].at("text").is_string());
    CHECK(lines[i].at("stop") == "length");
  }
  CHECK(run_galapagos(1, {"eval", "--model", test::data_file("models/llama3_tiny").string(), "--data",
                          (folder / "1.jsonl").string(), "--threads", "1"})
            .code == 0);
  const std::string drawn = run(1, "4.jsonl", {"--temperature", "1.3", "--seed", "5", "--top-p", "0.95"});
  CHECK(drawn != alone);
  CHECK(run(3, "5.jsonl", {"--temperature", "1.3", "--seed", "5", "--top-p", "0.95", "--batch", "1"}) ==
        drawn);

  // A word of a text ends it there.
  const auto whole = lines[0].at("text").get<std::string>();
  std::string word;
  for (std::size_t at = whole.size() / 2; at < whole.size() && word.empty(); ++at)
    if (static_cast<unsigned char>(whole[at]) < 0x80) word = whole.substr(at, 1);
  REQUIRE(!word.empty());
  run(1, "6.jsonl", {"--stop", word, "never"});
  const std::vector<Json> cut = lines_of(folder / "6.jsonl");
  CHECK(cut[0].at("text") == whole.substr(0, whole.find(word)));
  CHECK(cut[0].at("stop") == "stop");
}

TEST_CASE("texts from their beginning, of a pruned model, and of one without a tokenizer", "[app]") {
  const test::TemporaryFolder folder;
  test::Ended ended =
      run_galapagos(2, generate_words(folder / "s.jsonl", {"--samples", "5", "--temperature", "1",
                                                           "--max-new-tokens", "6", "--log-level", "debug"}));
  INFO(ended.errors);
  CHECK(ended.code == 0);
  const std::vector<Json> samples = lines_of(folder / "s.jsonl");
  REQUIRE(samples.size() == 5);
  CHECK(samples[0].at("ids") != samples[1].at("ids"));

  test::write_text(folder / "ids.jsonl", "{\"ids\": [3, 1, 4]}\n");
  ended =
      run_galapagos(1, generate_words(folder / "p.jsonl",
                                      {"--prompts", (folder / "ids.jsonl").string(), "--max-new-tokens", "4"},
                                      "qwen2_pruned"));
  CHECK(ended.code == 0);
  const std::vector<Json> bare = lines_of(folder / "p.jsonl");
  REQUIRE(bare.size() == 1);
  CHECK(bare[0].at("ids").size() == 4);
  CHECK(!bare[0].contains("text"));
}

TEST_CASE("prompts and options that cannot be generated from", "[app]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "out.jsonl";
  std::vector<test::Refusal> refusals;
  const auto refuse = [&](const Words& more, int code, const std::string& reason,
                          const std::string& model = "llama3_tiny") {
    refusals.push_back({[=](int) { return generate_words(output, more, model); }, code, reason, output});
  };
  int number = 0;
  const auto refuse_line = [&](const std::string& line, const std::string& reason,
                               const std::string& model = "llama3_tiny") {
    const fs::path file = folder / ("p" + std::to_string(number++) + ".jsonl");
    test::write_text(file, line);
    refuse({"--prompts", file.string()}, 3, reason, model);
  };
  refuse_line("{\"prompt\": \"\"}\n", "the prompt is empty");
  refuse_line("\n{\"ids\": []}\n", "line 2]; give --add-bos");
  refuse_line("{\"ids\": [1, 768]}\n", "'ids' holds 768, no id below 768");
  refuse_line("{\"ids\": [-1]}\n", "'ids' holds -1");
  refuse_line("{\"ids\": 4}\n", "'ids' is no list");
  refuse_line("{\"prompt\": 4}\n", "prompt");
  refuse_line("{\"prompt\": \"a\", \"max_tokens\": 4}\n", "the key 'max_tokens' means nothing here");
  refuse_line("{\"prompt\": \"a\", \"max_new_tokens\": 0}\n", "max_new_tokens");
  refuse_line("{\"prompt\": \"a\", \"text\": \"b\"}\n", "has both 'prompt' and 'text'");
  refuse_line("{\"stop\": [\"a\"]}\n", "has no prompt");
  refuse_line("{\"prompt\": \"a\", \"stop\": [\"\"]}\n", "'stop' holds what is no word");
  refuse_line("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n", "no chat template");
  refuse_line("[1]\n", "is no JSON object");
  refuse_line("{\n", "line 1");
  refuse_line("\n", "no prompts");
  refuse_line("{\"prompt\": \"a\"}\n", "no tokenizer for text", "qwen2_pruned");
  std::string ids = "{\"ids\": [1";
  for (int i = 1; i < 512; ++i) ids += ", 1";
  refuse_line(ids + "]}\n", "512 tokens, the model takes 512 with what it writes");
  test::write_text(folder / "good.jsonl", "{\"prompt\": \"a\"}\n");
  const std::string good = (folder / "good.jsonl").string();
  refuse({}, 2, "prompts or none");
  refuse({"--prompts", good, "--samples", "3"}, 2, "prompts or none");
  refuse({"--prompts", (folder / "none.jsonl").string()}, 3, "no such file");
  refuse({"--prompts", good, "--temperature", "-1"}, 2, "--temperature");
  refuse({"--prompts", good, "--temperature", "0.0001"}, 2, "give 0 for the likeliest token");
  refuse({"--prompts", good, "--top-p", "0"}, 2, "--top-p");
  refuse({"--prompts", good, "--top-k", "4"}, 2, "nothing is drawn at temperature 0");
  refuse({"--prompts", good, "--max-new-tokens", "0"}, 2, "--max-new-tokens");
  refuse({"--prompts", good, "--stop", ""}, 2, "--stop");
  refuse({"--prompts", good, "--memory-limit", "64K"}, 4, "a smaller --batch");
  test::check_refused(refusals);
}

TEST_CASE("how fast a model reads and writes, beside another", "[app]") {
  const std::string model = test::data_file("models/llama3_pruned").string(),
                    dense = test::data_file("models/llama3_tiny").string();
  const Words usual = {"eval", "--model", model, "--time", "--time-repeats", "1", "--threads", "1", "--json"};
  const auto times = [&](int ranks, Words more) {
    more.insert(more.begin(), usual.begin(), usual.end());
    const test::Ended ended = run_galapagos(ranks, more);
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    return parse_json(ended.output, "eval").at("times");
  };
  const Json found = times(
      1, {"--reference", dense, "--time-batch", "1 3", "--time-lengths", "20 90", "--batch-tokens", "64"});
  REQUIRE(found.size() == 4);
  for (const Json& one : found) {
    CHECK(one.at("prefill_tokens_per_second").get<double>() > 0);
    CHECK(one.at("decode_tokens_per_second").get<double>() > 0);
    CHECK(one.at("memory").get<double>() > 0);
    CHECK(one.at("reference").at("memory").get<double>() > one.at("memory").get<double>());
    CHECK(one.at("decode_speedup").get<double>() ==
          Approx(one.at("decode_tokens_per_second").get<double>() /
                 one.at("reference").at("decode_tokens_per_second").get<double>()));
  }
  CHECK(found[3].at("batch") == 3);
  CHECK(found[3].at("length") == 90);
  CHECK(times(2, {"--shards", "2"}).size() == 1);

  const Words timed = {"eval", "--model", model, "--time"};
  const auto with = [&](Words more) {
    more.insert(more.begin(), timed.begin(), timed.end());
    return more;
  };
  const auto check_refused = [&](const Words& words, const std::string& reason, int ranks = 1) {
    const test::Ended ended = run_galapagos(ranks, words);
    INFO(ended.errors);
    CHECK(ended.code == 2);
    CHECK(ended.errors.find(reason) != std::string::npos);
  };
  check_refused(with({"--data", "x.txt"}), "--time needs no text");
  check_refused(with({"--time-lengths", "512"}), "this model takes 512 tokens in all");
  check_refused(with({"--time-lengths", "0"}), "--time-lengths");
  check_refused(with({"--time-batch", "0"}), "0 sequences");
  check_refused(with({"--time-batch", "many"}), "--time-batch");
  check_refused(with({"--time-batch", ""}), "no number [--time-batch]");
  check_refused(with({"--time-lengths", " "}), "no number [--time-lengths]");
  check_refused(with({}), "2 ranks for 1 shards", 2);
  check_refused({"eval", "--model", model, "--data", "x.txt", "--scores", "y.jsonl"}, "give --score, too");
  check_refused({"eval", "--model", model, "--data", "x.txt", "--time-batch", "2"}, "give --time, too");
}
