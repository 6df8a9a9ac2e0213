#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::run_galapagos;

namespace {

const std::string model = test::data_file("models/llama3_tiny").string();

std::vector<std::string> tokenize(const std::string& input, const std::string& output,
                                  const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"tokenize", "--tokenizer", model, "--input", input, "--output", output};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

bool says(const test::Ended& ended, const std::string& words) {
  return ended.errors.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("the text's key and bad records are options of every command on text", "[app]") {
  const test::TemporaryFolder folder;
  const std::string plain = (folder / "plain.jsonl").string(), nested = (folder / "nested.jsonl").string(),
                    as_is = (folder / "as_is").string();
  std::string plain_lines, nested_lines;
  for (int i = 0; i < 200; ++i) {
    const std::string text = Json("text number " + std::to_string(i) + " \u00e9\n").dump();
    plain_lines += "{\"text\": " + text + "}\n";
    nested_lines += "{\"score\": NaN, \"data\": {\"body\": " + text + ", \"x\": [[[]]]}}\n";
    if (i % 100 == 3) nested_lines += "{\"data\": {\"title\": \"none\"}}\n";
  }
  test::write_text(plain, plain_lines);
  test::write_text(nested, nested_lines);
  test::write_text(folder / "own.ini", "text-key = data.body\nskip-bad-lines = 2\n");
  REQUIRE(run_galapagos(1, tokenize(plain, as_is)).code == 0);

  for (const int ranks : {1, 3}) {
    INFO(ranks << " ranks");
    const std::string output = (folder / ("out" + std::to_string(ranks))).string();
    const test::Ended without = run_galapagos(ranks, tokenize(nested, output));
    CHECK(without.code == 3);
    CHECK(says(without,
               "missing key 'text': the record has 'score', 'data.body', 'data.x' [" + nested + ", line 1]"));
    const test::Ended one =
        run_galapagos(ranks, tokenize(nested, output, {"--text-key", "data.body", "--skip-bad-lines", "1"}));
    CHECK(one.code == 3);
    CHECK(says(one, "more than 1 records have no usable text, the first: missing key 'data.body'"));
    CHECK(says(one, nested + ", line 5]"));
    const test::Ended two =
        run_galapagos(ranks, tokenize(nested, output, {"--config", (folder / "own.ini").string()}));
    CHECK(two.code == 0);
    CHECK(test::count_lines(two.errors, "2 of 202 records passed over, the first: missing key 'data.body'") ==
          1);
    CHECK(read_file(output + ".bin") == read_file(as_is + ".bin"));
    CHECK(read_file(output + ".idx") == read_file(as_is + ".idx"));
  }
  const auto eval = [&](const std::string& data, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"eval", "--model", model, "--data", data, "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return run_galapagos(2, words);
  };
  const test::Ended wanted = eval(plain, {}),
                    found = eval(nested, {"--text-key", "data.body", "--skip-bad-lines", "2"});
  CHECK(found.code == 0);
  CHECK(found.output == wanted.output);
  CHECK(run_galapagos(1, tokenize(plain, as_is + "2", {"--skip-bad-lines", "-1"})).code == 2);
  // A setting above all sections is also passed by where there is no text.
  CHECK(run_galapagos(1, {"assign", "--config", (folder / "own.ini").string(), "--print-config"}).code == 0);
}

TEST_CASE("text that is not UTF-8 is told of or refused", "[app]") {
  const test::TemporaryFolder folder;
  const std::string few = (folder / "few.txt").string(), many = (folder / "many.txt").string();
  test::write_text(few, std::string(999, 'x') + "\xe9");
  test::write_text(many, std::string(99, 'x') + "\xe9\xe9\xe9\xe9");
  const test::Ended told = run_galapagos(2, tokenize(few, (folder / "few").string()));
  CHECK(told.code == 0);
  CHECK(test::count_lines(told.errors, "few.txt: 1 of 1,000 characters are not UTF-8 and became U+FFFD") ==
        1);
  const std::string hole = (folder / "hole.txt").string();
  test::write_text(hole, "text" + std::string(100, '\0') + "text");
  CHECK(test::count_lines(run_galapagos(2, tokenize(hole, (folder / "hole").string())).errors,
                          "hole.txt: 100 characters are zero bytes") == 1);
  const test::Ended refused = run_galapagos(2, tokenize(many, (folder / "many").string()));
  CHECK(refused.code == 3);
  CHECK(says(refused, "4 of the first 103 characters are not UTF-8 [" + many + "]"));
  CHECK(run_galapagos(2, tokenize(many, (folder / "many").string(), {"--allow-invalid-utf8"})).code == 0);
}
