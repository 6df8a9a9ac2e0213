#include "generate_command.hpp"

#include <algorithm>
#include <csignal>
#include <unistd.h>

using namespace galapagos;
using test::lines_of;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

test::Ended run(int ranks, const fs::path& output, const Words& more) {
  return run_galapagos(ranks, test::generate_words(test::data_file("models/llama3_tiny"), output, more));
}

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

fs::path kept_of(const fs::path& output) {
  return output.string() + ".part";
}

/// All texts that runs have kept, by files.
std::size_t kept_texts(const fs::path& folder) {
  std::size_t count = 0;
  if (!fs::is_directory(folder)) return count;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string text = entry.path().extension() == ".jsonl" ? read_file(entry.path()) : "";
    count += static_cast<std::size_t>(std::ranges::count(text, '\n'));
  }
  return count;
}

}  // namespace

TEST_CASE("a generation that is told to stop goes on with the texts that are missing", "[app]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "texts.jsonl", kept = kept_of(output);
  const Words words = {"--samples", "1000000", "--temperature", "1", "--max-new-tokens", "8"};
  std::size_t before = 0;
  for (const int ranks : {1, 2}) {
    CAPTURE(ranks);
    bool told = false;
    const auto tell_one = [&] {  // the last rank, once another text has ended
      if (told || kept_texts(kept) <= before) return false;
      ::kill(test::ranks_under(::getpid()).back(), ranks == 1 ? SIGUSR2 : SIGTERM);
      told = true;
      return false;
    };
    const test::Ended ended =
        run_galapagos(ranks,
                      test::generate_words(test::data_file("models/llama3_tiny"), output,
                                           with(words, {"--shards", std::to_string(ranks)})),
                      120, tell_one);
    INFO(ended.errors);
    CHECK(ended.code == 75);
    CHECK(test::count_lines(ended.errors, "the texts that have ended are kept") == 1);
    CHECK(test::count_lines(ended.errors, "goes on from") == (ranks == 1 ? 0 : 1));
    CHECK_FALSE(fs::exists(output));
    CHECK(kept_texts(kept) > before);
    before = kept_texts(kept);
  }
  const test::Ended late = run(1, output, with(words, {"--max-walltime", "1"}));
  CHECK(late.code == 75);
}

TEST_CASE("a generation that was killed ends with the texts of one that was not", "[app][.slow]") {
  const test::TemporaryFolder folder;
  // One text at a time, so that its products are rounded alike whoever else is there.
  const Words words = {"--samples", "600", "--temperature", "1", "--max-new-tokens", "8", "--batch", "1"};
  REQUIRE(run(1, folder / "whole.jsonl", words).code == 0);
  CHECK_FALSE(fs::exists(kept_of(folder / "whole.jsonl")));
  const std::vector<Json> whole = lines_of(folder / "whole.jsonl");

  const fs::path output = folder / "texts.jsonl", kept = kept_of(output);
  const test::Ended killed =
      run_galapagos(1, test::generate_words(test::data_file("models/llama3_tiny"), output, words), 120,
                    [&] { return kept_texts(kept) > 0; });
  CHECK(killed.code == 137);
  CHECK_FALSE(fs::exists(output));
  // A text that nobody would have written shows that kept ones are taken; what is damaged is not.
  test::write_text(
      kept / "texts-7.jsonl",
      "{\"prompt\":599,\"ids\":[1],\"stop\":\"eos\"}\n{\"prompt\":598,\"ids\":[123456789],"
      "\"stop\":\"eos\"}\n{\"prompt\":600,\"ids\":[1],\"stop\":\"eos\"}\n{\"prompt\":597,\"ids\":[1");

  test::Ended ended = run(1, output, with(words, {"--seed", "5"}));
  CHECK(ended.code == 3);
  CHECK(test::count_lines(ended.errors, "'seed' was 0 and is 5 now") == 1);
  CHECK(run(1, output, with(words, {"--resume", "no"})).code == 3);
  fs::copy(kept, kept_of(folder / "fresh.jsonl"), fs::copy_options::recursive);

  ended = run(2, output, words);
  INFO(ended.errors);
  CHECK(ended.code == 0);
  CHECK(test::count_lines(ended.errors, "of 600 texts done") == 1);
  CHECK_FALSE(fs::exists(kept));
  std::vector<Json> lines = lines_of(output);
  REQUIRE(lines.size() == whole.size());
  CHECK(lines[599].at("ids") == Json::array({1}));
  CHECK(lines[599].at("stop") == "eos");
  lines[599] = whole[599];
  CHECK(lines == whole);

  // What is left where a run was killed as it removed the folder, and a folder of somebody else.
  const fs::path fresh = folder / "fresh.jsonl";
  fs::remove(kept_of(fresh) / "run.json");
  CHECK(run(1, fresh, with(words, {"--resume", "yes"})).code == 3);  // nothing to go on with
  test::write_text(kept_of(fresh) / "notes.txt", "mine");
  CHECK(run(1, fresh, with(words, {"--fresh"})).code == 3);
  fs::remove(kept_of(fresh) / "notes.txt");
  CHECK(run(1, fresh, with(words, {"--fresh"})).code == 0);
  CHECK(lines_of(fresh) == whole);
}
