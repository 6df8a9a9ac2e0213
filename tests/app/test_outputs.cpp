#include "generate_command.hpp"
#include "support/refusal.hpp"
#include "support/skip.hpp"

#include <cstring>
#include <sys/stat.h>

using namespace galapagos;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const fs::path& model() {
  static const fs::path folder = test::data_file("models/llama3_tiny");
  return folder;
}

/// A model all of whose weights are numbers, some of a tensor, its last `bytes_changed`, too large for logits
/// to be.
void write_broken_model(const fs::path& folder, const char* tensor, std::uint64_t bytes_changed) {
  fs::copy(model(), folder);
  const fs::path file = folder / "model.safetensors";
  std::string bytes = read_file(file);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const Json header = parse_json(bytes.substr(8, length), file.string());
  const Json& entry = header.at(tensor);
  REQUIRE(entry.at("dtype") == "BF16");
  const auto end = entry.at("data_offsets").at(1).get<std::uint64_t>();
  for (std::uint64_t at = end - bytes_changed; at < end; at += 2) {
    bytes[8 + length + at] = 0x60;
    bytes[8 + length + at + 1] = 0x7f;  // 3e38
  }
  fs::remove(file);
  test::write_text(file, bytes);
}

}  // namespace

TEST_CASE("what is there is not replaced by what a command writes, but for texts where that is asked for",
          "[app]") {
  const test::TemporaryFolder folder;
  const std::string prompts = test::write_prompts(folder / "prompts.jsonl", {{{"prompt", "The finch"}}}),
                    other = (folder / "other.json").string(), texts = (folder / "texts.jsonl").string(),
                    requests = (folder / "requests.jsonl").string();
  test::write_text(other, "{}\n");
  test::write_text(requests, "{\"context\": [1], \"continuation\": [2]}\n");
  fs::create_directory(folder / "folder");
  fs::create_symlink(other, folder / "link");
  const Words some = {"--prompts", prompts, "--max-new-tokens", "3"};
  REQUIRE(test::generated(model(), texts, some).size() == 1);

  std::vector<test::Refusal> refusals;
  const auto generate = [&](const fs::path& output, bool fresh, const std::string& reason) {
    Words words = test::generate_words(model(), output, some);
    if (fresh) words.emplace_back("--fresh");
    refusals.push_back({[=](int) { return words; }, 3, reason, {}});
  };
  const auto score = [&](const fs::path& output, const std::string& reason) {
    const Words words = {"eval",   "--model",  model().string(), "--score",
                         requests, "--scores", output.string()};
    refusals.push_back({[=](int) { return words; }, 3, reason, {}});
  };
  generate(texts, false, "texts are there already");
  generate(other, false, "texts are there already");
  generate(other, true, "not what generate writes");
  generate(prompts, true, "is what the command reads");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  for (const char* name : {"folder", "link", "pipe"}) {
    generate(folder / name, true, "is there, and no file");
    score(folder / name, "is there, and no file");
  }
  score(requests, "is what the command reads");
  score(folder / "none/scores.jsonl", "cannot write into the folder");
  test::check_refused(refusals);
  CHECK(read_file(other) == "{}\n");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(fs::is_fifo(folder / "pipe"));

  Words words = test::generate_words(model(), texts, some);
  words.emplace_back("--fresh");
  CHECK(run_galapagos(1, words).code == 0);
  for (int i = 0; i < 2; ++i)  // scores are soon made again
    CHECK(run_galapagos(1, {"eval", "--model", model().string(), "--score", requests, "--scores",
                            (folder / "scores.jsonl").string()})
              .code == 0);
}

TEST_CASE("logits that are no numbers are an error", "[app]") {
  const test::TemporaryFolder folder;
  write_broken_model(folder / "broken", "model.norm.weight", 128);
  test::write_text(folder / "requests.jsonl", "{\"context\": [1], \"continuation\": [2]}\n");
  const std::string broken = (folder / "broken").string();
  const std::vector<Words> commands = {
      test::generate_words(broken, folder / "texts.jsonl", {"--samples", "2", "--max-new-tokens", "3"}),
      {"eval", "--model", broken, "--data", test::data_file("text/sample.jsonl").string()},
      {"eval", "--model", broken, "--score", (folder / "requests.jsonl").string(), "--scores",
       (folder / "scores.jsonl").string()},
  };
  std::vector<test::Refusal> refusals;
  for (const Words& words : commands)
    refusals.push_back({[=](int) { return words; }, 5, "NaN or infinite", {}});
  test::check_refused(refusals);
  CHECK_FALSE(fs::exists(folder / "texts.jsonl"));
  CHECK_FALSE(fs::exists(folder / "scores.jsonl"));

  write_broken_model(folder / "last", "lm_head.weight", 128);  // one id, of the last shard alone
  for (const char* shards : {"1", "2"}) {
    const test::Ended ended = run_galapagos(
        2, test::generate_words(folder / "last", folder / "texts.jsonl",
                                {"--samples", "2", "--max-new-tokens", "3", "--shards", shards, "--fresh"}));
    CHECK(ended.code == 5);
    CHECK(test::count_lines(ended.errors, "NaN or infinite") == 1);
  }
}

TEST_CASE("a result that cannot be printed is an error", "[app]") {
  if (!fs::exists("/dev/full")) return test::say_skipped("there is no /dev/full");
  const test::Ended ended = test::run_program(
      {"sh", "-c", "'" + test::program() + "' info '" + model().string() + "' > /dev/full"});
  CHECK(ended.code == 4);
  CHECK(test::count_lines(ended.errors, "cannot write") == 1);
}
