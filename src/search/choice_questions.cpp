#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <span>
#include <string>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/search/choice_questions.hpp>

namespace galapagos {
namespace {

constexpr const char* how_to_write = R"(write {"context": "...", "choices": [" one", " two"], "answer": 0})";
constexpr const char* white_space = " \t\r\n";

/// A text of a question that says something.
std::string text_in(const Json& value, const std::string& what, const std::string& where) {
  if (!value.is_string()) throw InputError(what + " is no text", where, how_to_write);
  const auto& text = value.get_ref<const std::string&>();
  if (text.find_first_not_of(white_space) == std::string::npos)
    throw InputError(what + " is empty", where, "give it a text, or leave the question out");
  return text;
}

class Reader {
 public:
  Reader(const Tokenizer& tokenizer, std::optional<std::int32_t> bos, const HfConfig& config)
      : tokenizer_(tokenizer), bos_(bos), config_(config) {}

  void add(const Json& question, const std::string& where) {
    if (!question.is_object()) throw InputError("is no JSON object", where, how_to_write);
    for (const char* name : {"context", "choices", "answer"}) {
      if (!question.contains(name))
        throw InputError(fmt::format("nothing under '{}'", name), where, how_to_write);
    }
    const Json& choices = question["choices"];
    if (!choices.is_array() || choices.size() < 2)
      throw InputError("fewer than two choices", where, how_to_write);
    const Json& answer = question["answer"];
    if (!answer.is_number_integer() || answer < 0 || answer >= choices.size()) {
      throw InputError(fmt::format("the answer is {}, the choices are 0 to {}",
                                   printable(answer.dump(-1, ' ', true), 40), choices.size() - 1),
                       where, "give the number of the right choice, from 0");
    }
    std::string context = text_in(question["context"], "the context", where);
    const std::size_t end = context.find_last_not_of(white_space) + 1;
    const std::string space = context.substr(end);
    context.resize(end);
    const auto context_tokens = std::ssize(tokenizer_.encode(context));
    for (std::size_t c = 0; c < choices.size(); ++c) {
      const std::string what = fmt::format("choice {}", c);
      add_choice(context, context_tokens, space + text_in(choices[c], what, where), what, where);
    }
    found.answers.push_back(found.first.back() + answer.get<std::size_t>());
    found.first.push_back(found.tokens.sequences());
  }

  ChoiceQuestions found;

 private:
  void add_choice(const std::string& context, std::ptrdiff_t context_tokens, const std::string& choice,
                  const std::string& what, const std::string& where) {
    std::vector<std::int32_t> ids = tokenizer_.encode(context + choice);
    if (context_tokens == 0 || std::ssize(ids) <= context_tokens) {
      throw InputError(what + " adds no token to the context, or the context has none", where,
                       "use other words, or leave the question out");
    }
    if (bos_) ids.insert(ids.begin(), *bos_);
    const auto beyond =
        std::find_if(ids.begin(), ids.end(), [&](std::int32_t id) { return id >= config_.vocab_size; });
    if (beyond != ids.end()) {
      throw InputError(
          fmt::format("the tokenizer gives id {}, the model has {}", *beyond, config_.vocab_size), where,
          "use the tokenizer of this model");
    }
    if (std::ssize(ids) > config_.longest_sequence()) {
      throw InputError(fmt::format("context and {} have {} tokens, the model takes {}", what, ids.size(),
                                   config_.longest_sequence()),
                       where, "cut the context from the left, or leave the question out");
    }
    found.context.push_back(context_tokens + (bos_ ? 1 : 0));
    const std::size_t from = choice.find_first_not_of(white_space),
                      to = choice.find_last_not_of(white_space) + 1;
    found.bytes.push_back(static_cast<double>(to - from));
    found.tokens.tokens.insert(found.tokens.tokens.end(), ids.begin(), ids.end());
    found.tokens.offsets.push_back(found.tokens.tokens.size());
  }

  const Tokenizer& tokenizer_;
  std::optional<std::int32_t> bos_;
  const HfConfig& config_;
};

}  // namespace

std::int64_t ChoiceQuestions::longest() const {
  std::int64_t longest = 0;
  for (std::size_t s = 0; s < tokens.sequences(); ++s)
    longest = std::max(longest, std::ssize(tokens.sequence(s)));
  return longest;
}

std::uint64_t ChoiceQuestions::fingerprint() const {
  Hash64 hash;
  hash.add(tokens.fingerprint());
  for (const std::int64_t count : context) hash.add(static_cast<std::uint64_t>(count));
  for (const double count : bytes) hash.add(static_cast<std::uint64_t>(count));
  for (const std::size_t sequence : first) hash.add(std::uint64_t{sequence});
  for (const std::size_t sequence : answers) hash.add(std::uint64_t{sequence});
  return hash.value();
}

ChoiceQuestions read_choices(const std::filesystem::path& path, const Tokenizer& tokenizer,
                             std::optional<std::int32_t> bos, const HfConfig& config) {
  std::ifstream lines(path);
  if (!lines)
    throw InputError("cannot open the questions", path.string(), "check the path given to --choices");
  Reader reader(tokenizer, bos, config);
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = fmt::format("{}, line {}", path.string(), ++number);
    if (line.find_first_not_of(white_space) == std::string::npos) continue;
    reader.add(parse_json(line, where), where);
  }
  if (reader.found.count() == 0) throw InputError("no questions", path.string(), how_to_write);
  return std::move(reader.found);
}

ChoiceQuestions load_choices(const Communicator& comm, const std::filesystem::path& path,
                             const std::filesystem::path& model, const HfConfig& config, bool add_bos) {
  ChoiceQuestions questions;
  agree_at_root(comm, [&] {
    const auto tokenizer = Tokenizer::load(model);
    std::optional<std::int32_t> bos;
    if (add_bos) {
      if (config.bos_id) bos = static_cast<std::int32_t>(*config.bos_id);
      if (tokenizer->bos_id()) bos = tokenizer->bos_id();
    }
    questions = read_choices(path, *tokenizer, bos, config);
  });
  comm.broadcast(questions.tokens.tokens);
  comm.broadcast(questions.tokens.offsets);
  comm.broadcast(questions.context);
  comm.broadcast(questions.bytes);
  comm.broadcast(questions.first);
  comm.broadcast(questions.answers);
  return questions;
}

std::int64_t assumed_choice_tokens(const std::filesystem::path& path) {
  constexpr std::size_t bytes_of_token = 4;
  std::ifstream lines(path);
  std::size_t tokens = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json question = Json::parse(line, nullptr, false);
    if (!question.is_object() || !question.contains("context") || !question["context"].is_string() ||
        !question.contains("choices"))
      continue;
    const std::size_t context = question["context"].get_ref<const std::string&>().size();
    for (const Json& choice : question["choices"]) {
      if (choice.is_string())
        tokens += (context + choice.get_ref<const std::string&>().size()) / bytes_of_token + 1;
    }
  }
  return static_cast<std::int64_t>(tokens);
}

}  // namespace galapagos
