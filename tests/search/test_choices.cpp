#include "assignment/small_space.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cmath>
#include <limits>
#include <random>

#include <galapagos/core/error.hpp>
#include <galapagos/search/choice_answers.hpp>

using namespace galapagos;
using test::contains;
using test::message_of;

namespace {

namespace fs = std::filesystem;

const fs::path& model() {
  static const fs::path folder = test::data_file("models/llama3_tiny");
  return folder;
}

ChoiceQuestions read(const std::string& text, std::optional<std::int32_t> bos = {},
                     std::int64_t vocab_size = 768, const fs::path& of = model()) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "questions.jsonl", text);
  HfConfig config = read_hf_config(of);
  config.vocab_size = vocab_size;
  return read_choices(folder / "questions.jsonl", *Tokenizer::load(of), bos, config);
}

// Questions of two choices of one byte each, the first of which is right.
ChoiceQuestions plain_questions(std::size_t count) {
  ChoiceQuestions questions;
  for (std::size_t q = 0; q < count; ++q) {
    questions.answers.push_back(2 * q);
    questions.first.push_back(2 * q + 2);
    questions.bytes.insert(questions.bytes.end(), {1, 1});
  }
  return questions;
}

ChoiceAnswers answers_with(const std::vector<bool>& right, double log_probability) {
  return {right, std::vector<double>(right.size(), log_probability)};
}

// With the tokenizer of a model.
void check_questions_of(const fs::path& of) {
  const auto tokenizer = Tokenizer::load(of);
  const std::int64_t vocab_size = tokenizer->vocab_size();
  const std::string text =
      R"({"context": "The turtle sleeps on the", "choices": [" beach", " slope of it"], "answer": 1})"
      "\n\n"
      R"({"context": "In 1791,  ", "choices": ["no", "наш", "x"], "answer": 0, "id": 7})";
  for (const std::optional<std::int32_t> bos :
       {std::optional<std::int32_t>(), std::optional<std::int32_t>(0)}) {
    const ChoiceQuestions questions = read(text, bos, vocab_size, of);
    CHECK(questions.count() == 2);
    CHECK(questions.first == std::vector<std::size_t>{0, 2, 5});
    CHECK(questions.answers == std::vector<std::size_t>{1, 2});
    CHECK(questions.bytes == std::vector<double>{5, 11, 2, 6, 1});  // without the space before them
    const std::vector<std::string> whole = {"The turtle sleeps on the beach",
                                            "The turtle sleeps on the slope of it", "In 1791,  no",
                                            "In 1791,  наш", "In 1791,  x"};
    REQUIRE(questions.tokens.sequences() == whole.size());
    std::int64_t longest = 0;
    for (std::size_t s = 0; s < whole.size(); ++s) {
      std::vector<std::int32_t> ids = tokenizer->encode(whole[s]);
      if (bos) ids.insert(ids.begin(), *bos);
      const auto sequence = questions.tokens.sequence(s);
      CHECK(std::vector<std::int32_t>(sequence.begin(), sequence.end()) == ids);
      // White space at the context's end is the choice's.
      CHECK(questions.context[s] ==
            std::ssize(tokenizer->encode(s < 2 ? "The turtle sleeps on the" : "In 1791,")) + (bos ? 1 : 0));
      longest = std::max(longest, std::ssize(ids));
    }
    CHECK(questions.longest() == longest);
  }
  const auto print_of = [&](const std::string& one) { return read(one, {}, vocab_size, of).fingerprint(); };
  std::string other = text;
  other.replace(other.find("\"answer\": 1"), 11, "\"answer\": 0");
  CHECK(print_of(other) != print_of(text));
  CHECK(print_of(text + "\n") == print_of(text));
}

}  // namespace

TEST_CASE("questions become sequences of which the choices are scored", "[choices]") {
  for (const char* name : {"llama3_tiny", "llama2_tiny", "qwen2_tiny", "gemma3_tiny", "phi3_tiny"}) {
    INFO(name);
    check_questions_of(test::data_file(std::string("models/") + name));
  }
}

TEST_CASE("questions that cannot be asked are refused, naming the line", "[choices]") {
  const std::string good = R"({"context": "A", "choices": [" b", " c"], "answer": 1})"
                           "\n";
  const auto refused = [&](const std::string& line, const std::string& reason) {
    const std::string message = message_of<InputError>([&] { read(good + line + "\n"); });
    INFO(line << ": " << message);
    CHECK(contains(message, reason));
    CHECK(contains(message, "questions.jsonl, line 2"));
  };
  refused(R"({"context": "A", "answer": 0})", "nothing under 'choices'");
  refused(R"({"choices": [" b", " c"], "answer": 0})", "nothing under 'context'");
  refused(R"({"context": "A", "choices": [" b", " c"]})", "nothing under 'answer'");
  refused(R"({"context": "A", "choices": [], "answer": 0})", "fewer than two choices");
  refused(R"({"context": "A", "choices": [" b"], "answer": 0})", "fewer than two choices");
  refused(R"({"context": "A", "choices": " b", "answer": 0})", "fewer than two choices");
  refused(R"({"context": "A", "choices": [" b", " c"], "answer": 2})",
          "the answer is 2, the choices are 0 to 1");
  refused(R"({"context": "A", "choices": [" b", " c"], "answer": -1})", "the answer is -1,");
  refused(R"({"context": "A", "choices": [" b", " c"], "answer": "b"})", "the answer is \"b\"");
  refused(R"({"context": "A", "choices": [" b", 4], "answer": 0})", "choice 1 is no text");
  refused(R"({"context": "A", "choices": [" ", " c"], "answer": 1})", "choice 0 is empty");
  refused(R"({"context": "", "choices": [" b", " c"], "answer": 1})", "the context is empty");
  refused(R"({"context": " \n", "choices": [" b", " c"], "answer": 1})", "the context is empty");
  refused(R"([1, 2])", "is no JSON object");
  refused(R"({"context": "A", "choices": [" b")", "line 2");
  std::string many = "x";
  for (int i = 0; i < 600; ++i) many += " 7 q";
  refused(R"({"context": ")" + many + R"(", "choices": [" b", " c"], "answer": 1})", "the model takes 512");
  CHECK(contains(message_of<InputError>([] { read("\n"); }), "no questions"));
  CHECK(contains(message_of<InputError>([&] { read(good, {}, 3); }), "the model has 3"));
  CHECK(contains(message_of<InputError>([] {
                   read_choices("nowhere.jsonl", *Tokenizer::load(model()), {}, read_hf_config(model()));
                 }),
                 "nowhere.jsonl"));
}

TEST_CASE("what is most probable per byte is chosen", "[choices]") {
  ChoiceQuestions questions;
  questions.first = {0, 3, 5, 7};
  questions.answers = {1, 3, 6};
  questions.bytes = {4, 10, 2, 3, 3, 1, 1};
  const double none = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> nll = {3, 7, 2, 5, 5, none, 9};
  const ChoiceAnswers answers = answers_of(questions, nll);
  CHECK(answers.right == std::vector<bool>{true, true, true});  // 0.7 of 0.75; the first of equals; finite
  CHECK(answers.log_probabilities == std::vector<double>{-7, -5, -9});
  CHECK(answers.rights() == 3);
  CHECK(answers.log_probability() == -21);
  const std::vector<double> broken(7, none);
  CHECK(answers_of(questions, broken).rights() == 0);
}

TEST_CASE("who answers better is decided where it is sure", "[choices]") {
  // Only what one of two answers right counts: three to none may be chance (1/8), four to none is not.
  for (const std::size_t common : {0u, 5u, 400u}) {
    for (std::size_t won = 0; won < 12; ++won) {
      for (std::size_t lost = 0; lost < 12; ++lost) {
        std::vector<bool> one(common, true), other(common, true);
        one.insert(one.end(), won, true);
        one.insert(one.end(), lost, false);
        other.insert(other.end(), won, false);
        other.insert(other.end(), lost, true);
        double chance = 0, of = 1;  // P(X >= won), term by term
        for (std::size_t k = 0; k <= won + lost; ++k) {
          if (k > 0) of *= static_cast<double>(won + lost - k + 1) / static_cast<double>(k);
          if (k >= won) chance += of * std::pow(0.5, won + lost);
        }
        const bool sure = won > lost && chance < 0.1;
        CHECK(surely_better(answers_with(one, -1), answers_with(other, -1)) == sure);
      }
    }
  }
  // Else by the right choices' probability, but not with fewer of them.
  std::mt19937 random(4);
  std::normal_distribution<double> normal(0, 1);
  const ChoiceQuestions questions = plain_questions(100);
  std::vector<double> weak(200), strong(200), noisy(200);
  for (std::size_t s = 0; s < 200; ++s) {
    weak[s] = s % 2 == 0 ? 5 : 9;
    strong[s] = weak[s] + (s % 2 == 0 ? -0.5 + normal(random) : 0);
    noisy[s] = weak[s] + 0.01 * normal(random) * (s % 2 == 0 ? 1 : 0);
  }
  const ChoiceAnswers a = answers_of(questions, weak), b = answers_of(questions, strong),
                      c = answers_of(questions, noisy);
  CHECK(a.rights() == 100);
  CHECK(surely_better(b, a));
  CHECK(!surely_better(a, b));
  CHECK(!surely_better(a, a));
  CHECK(!(surely_better(c, a) && surely_better(a, c)));
  ChoiceAnswers fewer = b;
  fewer.right[3] = false;
  CHECK(!surely_better(fewer, a));
  ChoiceAnswers broken = b;
  broken.log_probabilities[3] = -std::numeric_limits<double>::infinity();
  CHECK(!surely_better(broken, a));
}
