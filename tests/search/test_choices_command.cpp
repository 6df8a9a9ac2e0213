#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <algorithm>
#include <map>
#include <sstream>

#include <galapagos/core/json.hpp>
#include <galapagos/io/tokenizer.hpp>

using namespace galapagos;
using test::content;
using test::count_lines;
using test::Ended;
using test::run_galapagos;
using test::search_inputs;
using test::search_words;

namespace {

namespace fs = std::filesystem;
using Change = std::map<std::string, std::string>;

struct Question {
  std::string context;
  std::vector<std::string> choices;
  std::size_t answer = 0;
};

std::string model() {
  return test::data_file("models/llama3_tiny").string();
}

constexpr int questions_asked = 120;

// Beginnings of the sample's kind of sentences, each with ends of unequal length.
std::vector<Question> some_questions() {
  std::vector<Question> questions;
  const char* beings[] = {"island", "turtle", "shell", "cactus", "iguana", "reef"};
  for (int i = 0; i < questions_asked; ++i) {
    questions.push_back(
        {"\"It's grey,\" said the " + std::string(beings[i % 6]) + ", " + std::to_string(7 * i),
         {" and we'll feed again", " isn't", " on the northern slope " + std::to_string(i)},
         static_cast<std::size_t>(i % 3)});
  }
  return questions;
}

std::string lines_of(const std::vector<Question>& questions) {
  std::string text;
  for (const Question& one : questions)
    text += Json{{"context", one.context}, {"choices", one.choices}, {"answer", one.answer}}.dump() + "\n";
  return text;
}

std::vector<Json> read_lines(const fs::path& path) {
  std::vector<Json> lines;
  std::istringstream text(content(path));
  for (std::string line; std::getline(text, line);) lines.push_back(parse_json(line, path.string()));
  return lines;
}

// The log-probability of each choice of each question, of the model with such levels: written by stitch,
// scored by eval.
std::vector<std::vector<double>> scores_of(const fs::path& folder, const Json& levels,
                                           const std::vector<Question>& questions) {
  std::string assignment, requests;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    assignment += "model.layers." + std::to_string(i / 2) +
                  (i % 2 == 0 ? ".self_attn.o_proj: " : ".mlp.down_proj: ") + levels[i].dump() + "\n";
  }
  const auto tokenizer = Tokenizer::load(model());
  for (const Question& one : questions) {
    const std::vector<std::int32_t> context = tokenizer->encode(one.context);
    for (const std::string& choice : one.choices) {
      const std::vector<std::int32_t> whole = tokenizer->encode(one.context + choice);
      const std::vector<std::int32_t> rest(whole.begin() + std::ssize(context), whole.end());
      requests += Json{{"context", context}, {"continuation", rest}}.dump() + "\n";
    }
  }
  fs::remove_all(folder);
  fs::create_directories(folder);
  test::write_text(folder / "levels.txt", assignment);
  test::write_text(folder / "requests.jsonl", requests);
  const Ended stitched = run_galapagos(
      1, {"stitch", "--model", model(), "--database", (search_inputs() / "s.h5").string(), "--assignment",
          (folder / "levels.txt").string(), "--output", (folder / "model").string()});
  INFO(stitched.errors);
  REQUIRE(stitched.code == 0);
  const Ended scored = run_galapagos(
      1, {"eval", "--model", (folder / "model").string(), "--score", (folder / "requests.jsonl").string(),
          "--scores", (folder / "scores.jsonl").string(), "--precision", "fp32"});
  INFO(scored.errors);
  REQUIRE(scored.code == 0);
  std::vector<std::vector<double>> scores;
  const std::vector<Json> lines = read_lines(folder / "scores.jsonl");
  std::size_t at = 0;
  for (const Question& one : questions) {
    scores.emplace_back();
    for (std::size_t c = 0; c < one.choices.size(); ++c)
      scores.back().push_back(lines.at(at++).at("logprob").get<double>());
  }
  return scores;
}

// What is most probable per byte, without the space before it.
std::size_t chosen(const std::vector<double>& scores, const Question& question) {
  std::size_t best = 0;
  const auto of_byte = [&](std::size_t c) {
    return scores[c] / static_cast<double>(question.choices[c].size() - 1);
  };
  for (std::size_t c = 1; c < scores.size(); ++c) {
    if (of_byte(c) > of_byte(best)) best = c;
  }
  return best;
}

std::vector<std::string> words_of(const fs::path& output, const fs::path& questions, Change change) {
  change.try_emplace("--database", (search_inputs() / "s.h5").string());
  change.try_emplace("--precision", "fp32");
  change.try_emplace("--choices", questions.string());
  return search_words(output, change);
}

Change strategy(const std::string& name) {
  if (name == "evolution") return {};
  if (name == "sensitivity") return {{"--strategy", name}, {"--generations", "-"}};
  Change racing = {{"--strategy", "racing"}, {"--block-tokens", "200"}, {"--eval-every", "2"},
                   {"--offspring", "4"},     {"--islands", "2"},        {"--generations", "6"}};
  if (name == "racing") return racing;
  racing["--target-level"] = "-";
  racing["--targets"] = "0.2 0.4";
  return racing;
}

// How the best came about, but for times.
std::string end_of(const fs::path& run) {
  std::string all = content(run / "choices.jsonl");
  for (const char* name : {"best.txt", "best-0.2.txt", "best-0.4.txt", "front.csv"})
    all += content(run / name);
  const Json manifest = read_json(run / "manifest.json");
  return all + manifest.at("choices").dump() +
         (manifest.contains("best") ? manifest["best"] : manifest.at("front")).dump();
}

}  // namespace

TEST_CASE("questions choose the end where they surely tell", "[choices]") {
  const test::TemporaryFolder folder;
  int taken = 0;  // places of the best by fitness
  for (const char* name : {"evolution", "racing", "front", "sensitivity"}) {
    const Change options = strategy(name);
    std::vector<Question> questions = some_questions();
    const fs::path asked = folder / (std::string(name) + ".jsonl"), run = folder / name;
    test::write_text(asked, lines_of(questions));
    const Ended ended = run_galapagos(1, words_of(run, asked, options));
    INFO(name << ": " << ended.errors);
    REQUIRE(ended.code == 0);
    const std::size_t sizes = std::string(name) == "front" ? 2 : 1;
    CHECK(count_lines(ended.errors, "120 questions, ") == static_cast<int>(sizes));
    const std::vector<Json> lines = read_lines(run / "choices.jsonl");
    std::map<std::string, std::vector<std::vector<double>>> scores;
    std::size_t best = 0;
    for (const Json& line : lines) {
      const std::string levels = line.at("levels").dump();
      if (!scores.contains(levels))
        scores[levels] = scores_of(folder / "stitched", line["levels"], questions);
      std::int64_t right = 0;
      double sum = 0;
      for (std::size_t q = 0; q < questions.size(); ++q) {
        right += chosen(scores[levels][q], questions[q]) == questions[q].answer ? 1 : 0;
        sum += scores[levels][q][questions[q].answer];
      }
      CHECK(line.at("right") == right);
      CHECK(line.at("accuracy").get<double>() == Approx(static_cast<double>(right) / questions_asked));
      CHECK(line.at("log_probability").get<double>() == Approx(sum).epsilon(1e-3));
      if (!line.at("chosen").get<bool>()) continue;
      const Json told = read_json(run / "manifest.json").at("choices").at("best").at(best++);
      CHECK(told.at("right") == right);
      CHECK(told.at("fitness") == line.at("fitness"));
    }
    CHECK(best == sizes);
    CHECK(lines.size() <= 8 * sizes);
    if (std::string(name) == "sensitivity") continue;  // one candidate alone
    REQUIRE(lines.size() >= 2);

    // The same course with answers that are one candidate's own, of the last size: the one that answers most
    // otherwise than the best by fitness.
    const auto of_last = [&](const Json& line) {
      return line.value("sparsity", 0.0) == lines.back().value("sparsity", 0.0);
    };
    const auto own = [&](const Json& line, std::size_t q) {
      return chosen(scores.at(line.at("levels").dump())[q], questions[q]);
    };
    const Json& first = *std::find_if(lines.begin(), lines.end(), of_last);
    std::int64_t differ = -1;
    Json wanted;
    for (const Json& line : lines) {
      std::int64_t count = 0;
      for (std::size_t q = 0; q < questions.size(); ++q) count += own(line, q) != own(first, q) ? 1 : 0;
      if (!of_last(line) || count <= differ) continue;
      differ = count;
      wanted = line;
    }
    for (std::size_t q = 0; q < questions.size(); ++q) questions[q].answer = own(wanted, q);
    taken += differ >= 4 ? 1 : 0;
    INFO(differ << " answers of the best by fitness differ");
    test::write_text(asked, lines_of(questions));
    std::string expected;
    for (const int ranks : {1, 2, 4}) {
      const fs::path again = folder / (name + std::to_string(ranks));
      if (ranks == 4) {
        run_galapagos(3, words_of(again, asked, options), 60,
                      [&] { return count_lines(content(again / "metrics.jsonl"), "\"island\":1") >= 2; });
      }
      const Ended done = run_galapagos(ranks, words_of(again, asked, options));
      INFO(done.errors);
      REQUIRE(done.code == 0);
      if (ranks == 1) expected = end_of(again);
      CHECK(end_of(again) == expected);
    }
    const fs::path once = folder / (name + std::to_string(1));
    for (const Json& line : read_lines(once / "choices.jsonl")) {
      if (!of_last(line)) continue;
      if (line.at("levels") == wanted.at("levels")) CHECK(line.at("right") == questions_asked);
      if (differ < 4) continue;
      if (line.at("levels") == first.at("levels")) CHECK(line.at("chosen") == false);
      if (line.at("chosen").get<bool>()) CHECK(line.at("right") > questions_asked - differ);
    }
    const std::string last = std::string(name) == "front" ? "best-0.4.txt" : "best.txt";
    for (const Json& line : read_lines(once / "choices.jsonl")) {
      if (!line.at("chosen").get<bool>() || line.value("sparsity", 0.4) != 0.4) continue;
      for (const Json& level : line.at("levels"))
        CHECK(count_lines(content(once / last), ": " + level.dump()) > 0);
    }
    if (std::string(name) != "racing") continue;
    // Other questions are those of another search; on shards all is the same but for rounding.
    test::write_text(asked, lines_of(some_questions()));
    const Ended other = run_galapagos(1, words_of(once, asked, {{"--generations", "8"}}));
    CHECK(other.code == 3);
    Change on_shards = options;
    on_shards["--shards"] = "2";
    const Ended sharded = run_galapagos(4, words_of(folder / "sharded", asked, on_shards));
    INFO(sharded.errors);
    CHECK(sharded.code == 0);
    for (const Json& line : read_lines(folder / "sharded" / "choices.jsonl")) {
      if (line.at("levels") == first.at("levels"))
        CHECK(line.at("log_probability").get<double>() ==
              Approx(first.at("log_probability").get<double>()).epsilon(1e-3));
    }
  }
  CHECK(taken >= 2);
}

TEST_CASE("questions that cannot be asked end a search", "[choices]") {
  const test::TemporaryFolder folder;
  std::vector<test::Refusal> all;
  const auto refused = [&](const std::string& name, const std::string& text, const std::string& reason,
                           Change change = {}) {
    test::write_text(folder / name, text);
    all.push_back({[=, &folder](int ranks) {
                     return words_of(folder / (name + std::to_string(ranks)), folder / name, change);
                   },
                   3,
                   reason,
                   {}});
  };
  const std::string good = lines_of(some_questions());
  refused("none", "", "no questions");
  refused("answer", good + R"({"context": "A", "choices": [" b", " c"], "answer": 2})", "line 121");
  refused("empty", R"({"context": "A", "choices": ["", " c"], "answer": 1})", "line 1");
  // A model without its tokenizer, searched on token ids.
  const fs::path bare = folder / "bare";
  fs::create_directories(bare);
  for (const char* file : {"config.json", "model.safetensors"})
    fs::copy_file(fs::path(model()) / file, bare / file);
  const Ended tokens = run_galapagos(
      1, {"tokenize", "--tokenizer", model(), "--input", test::data_file("text/sample.jsonl").string(),
          "--output", (folder / "ids").string()});
  INFO(tokens.errors);
  REQUIRE(tokens.code == 0);
  refused("bare.jsonl", good, "tokenizer",
          {{"--model", bare.string()}, {"--calibration", (folder / "ids").string()}, {"--eval-data", "-"}});
  check_refused(all);
  const Ended planned =
      run_galapagos(1, {"plan", "search", "--ranks", "2", "--model", model(), "--database",
                        (search_inputs() / "s.h5").string(), "--target-level", "3", "--choices",
                        (folder / "answer").string(), "--sequence-length", "128"});
  INFO(planned.errors);
  CHECK(planned.code == 0);
  CHECK(count_lines(planned.output, "questions") >= 1);
}
