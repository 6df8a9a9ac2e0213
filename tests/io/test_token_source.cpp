#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/text_reader.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/io/tokenize.hpp>

using namespace galapagos;
using Ids = std::vector<std::int32_t>;

// Runs on every rank: CHECK only, so that no rank leaves the others alone in a collective.

namespace {

const std::filesystem::path sample = test::data_file("text/sample.jsonl");

std::vector<Ids> sample_documents(const Tokenizer& tokenizer) {
  std::vector<Ids> documents;
  DocumentReader reader(sample);
  for (std::vector<TextPart> text; reader.next(text);)
    documents.push_back(tokenizer.encode(text.front().text));
  return documents;
}

Ids sequence(const TokenSet& set, std::size_t i) {
  const auto tokens = set.sequence(i);
  return {tokens.begin(), tokens.end()};
}

/// The message on the rank that failed, "elsewhere" on the others, empty where nothing failed.
std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const FailedElsewhere&) {
    return "elsewhere";
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

/// Whether all ranks failed, and at least one with these words.
bool fails_with(const Communicator& world, const std::string& words, const std::function<void()>& work) {
  const std::string error = error_of(work);
  return world.all(!error.empty()) && world.any(error.find(words) != std::string::npos);
}

}  // namespace

TEST_CASE("every rank gets every document as a sequence of its own", "[source]") {
  const auto world = Communicator::world();
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  const auto documents = sample_documents(*tokenizer);
  const TokenSet set = load_sequences(world, {sample}, tokenizer.get(), {100'000, 0, {}}, 768);
  CHECK(set.sequences() == documents.size());
  std::size_t same = 0;
  for (std::size_t i = 0; i < std::min(documents.size(), set.sequences()); ++i) {
    same += sequence(set, i) == documents[i] ? 1 : 0;
  }
  CHECK(same == documents.size());
  const auto prints = world.all_gather(set.fingerprint());
  CHECK(std::all_of(prints.begin(), prints.end(), [&](auto print) { return print == prints[0]; }));
}

TEST_CASE("long documents are cut, the last sequence is trimmed to the budget", "[source]") {
  const auto world = Communicator::world();
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  std::vector<Ids> wanted;
  std::size_t budget = 5000;
  for (Ids ids : sample_documents(*tokenizer)) {
    ids.insert(ids.begin(), 760);
    for (std::size_t at = 0; at < ids.size() && budget > 0; at += 32) {
      const std::size_t length = std::min({std::size_t{32}, ids.size() - at, budget});
      wanted.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(at),
                          ids.begin() + static_cast<std::ptrdiff_t>(at + length));
      budget -= length;
    }
  }
  const TokenSet set = load_sequences(world, {sample}, tokenizer.get(), {32, 5000, 760}, 768);
  CHECK(set.tokens.size() == 5000);
  CHECK(set.sequences() == wanted.size());
  std::size_t same = 0;
  for (std::size_t i = 0; i < std::min(wanted.size(), set.sequences()); ++i) {
    same += sequence(set, i) == wanted[i] ? 1 : 0;
  }
  CHECK(same == wanted.size());
}

TEST_CASE("the number of ranks changes nothing", "[source]") {
  const auto world = Communicator::world();
  const auto alone = Communicator::self();
  const auto tokenizer = Tokenizer::load(test::data_file("models/qwen2_tiny"));
  for (const std::int64_t budget : {0, 1, 777, 20'000}) {
    const SequenceOptions options{64, budget, {}};
    const auto together = load_sequences(world, {sample, sample}, tokenizer.get(), options, 768);
    const auto by_one = load_sequences(alone, {sample, sample}, tokenizer.get(), options, 768);
    CHECK(together.fingerprint() == by_one.fingerprint());
    CHECK(together.offsets == by_one.offsets);
  }
}

TEST_CASE("text and its token file are the same data, also mixed", "[source]") {
  const auto world = Communicator::world();
  const auto alone = Communicator::self();
  const test::TemporaryFolder folder;
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama2_tiny"));
  const auto summary = tokenize_files(alone, *tokenizer, {sample}, folder / "sample", false);
  const SequenceOptions options{50, 30'000, {}};
  const auto from_text = load_sequences(world, {sample, sample}, tokenizer.get(), options, 768);
  const auto from_tokens = load_sequences(world, {summary.bin, summary.idx}, nullptr, options, 768);
  const auto mixed = load_sequences(world, {sample, folder / "sample"}, tokenizer.get(), options, 768);
  CHECK(from_text.fingerprint() == from_tokens.fingerprint());
  CHECK(from_text.fingerprint() == mixed.fingerprint());
}

TEST_CASE("what cannot be used is refused on every rank", "[source]") {
  const auto world = Communicator::world();
  const test::TemporaryFolder folder;
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  const auto load = [&](const std::string& file, SequenceOptions options, std::int32_t vocab_size,
                        bool with_tokenizer = true) {
    return [&, file, options, vocab_size, with_tokenizer] {
      load_sequences(world, {file}, with_tokenizer ? tokenizer.get() : nullptr, options, vocab_size);
    };
  };
  test::write_text(folder / "empty.jsonl", "\n{\"text\": \"\"}\n");
  test::write_text(folder / "bad.jsonl", "{\"text\": \"a\"}\n{\"text\": \n");
  const auto tokens = tokenize_files(Communicator::self(), *tokenizer, {sample}, folder / "t", false).bin;
  CHECK(fails_with(world, "calibration data too short", load(sample, {64, 10'000'000, {}}, 768)));
  CHECK(fails_with(world, "empty", load(folder / "empty.jsonl", {64, 0, {}}, 768)));
  CHECK(fails_with(world, "line 2", load(folder / "bad.jsonl", {64, 0, {}}, 768)));
  CHECK(fails_with(world, "none.jsonl", load(folder / "none.jsonl", {64, 0, {}}, 768)));
  CHECK(fails_with(world, "beyond the model's 300 ids", load(sample, {64, 0, {}}, 300)));
  CHECK(fails_with(world, "another tokenizer", load(tokens, {64, 0, {}}, 300)));
  CHECK(fails_with(world, "needs a tokenizer", load(sample, {64, 0, {}}, 768, false)));
  CHECK(fails_with(world, "at least 1", load(sample, {0, 0, {}}, 768)));
  CHECK(fails_with(world, "BOS", load(sample, {64, 0, 768}, 768)));
}

TEST_CASE("responses are marked, whatever the number of ranks", "[source]") {
  const auto world = Communicator::world();
  const test::TemporaryFolder folder;
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  std::string lines;
  for (int i = 0; i < 4000; ++i) {
    const std::string number = std::to_string(i);
    lines += i % 2 == 0
                 ? "{\"prompt\": \"What is " + number + "?\", \"response\": \" It is " + number + ".\"}\n"
                 : "{\"messages\": [{\"role\": \"user\", \"content\": \"What is " + number +
                       "?\"}, {\"role\": \"assistant\", \"content\": \" It is " + number + ".\"}]}\n";
  }
  const std::filesystem::path file = folder / "instructions.jsonl";
  test::write_text(file, lines);
  SequenceOptions options{64, 0, 760};
  const TokenSet all = load_sequences(world, {file}, tokenizer.get(), options, 768);
  CHECK(all.in_loss.empty());
  options.responses_only = true;
  const TokenSet set = load_sequences(world, {file}, tokenizer.get(), options, 768);
  CHECK(set.tokens == all.tokens);
  CHECK(set.offsets == all.offsets);
  CHECK(set.fingerprint() != all.fingerprint());
  CHECK(set.sequences() == 4000);
  CHECK(set.in_loss.size() == set.tokens.size());
  std::size_t same = 0;
  for (std::size_t s = 0; s < std::min<std::size_t>(set.sequences(), 4000); ++s) {
    const Ids prompt = tokenizer->encode("What is " + std::to_string(s) + "?"),
              response = tokenizer->encode(" It is " + std::to_string(s) + ".");
    Ids wanted = {760};
    wanted.insert(wanted.end(), prompt.begin(), prompt.end());
    wanted.insert(wanted.end(), response.begin(), response.end());
    std::vector<std::uint8_t> marks(1 + prompt.size(), 0);
    marks.insert(marks.end(), response.size(), 1);
    const auto first = set.in_loss.begin() + static_cast<std::ptrdiff_t>(set.offsets[s]);
    same += sequence(set, s) == wanted && std::equal(marks.begin(), marks.end(), first) &&
                    set.predicted(s) == static_cast<std::int64_t>(response.size())
                ? 1
                : 0;
  }
  CHECK(same == 4000);
  options.token_budget = 100;
  const TokenSet some = load_sequences(world, {file}, tokenizer.get(), options, 768);
  CHECK(some.in_loss.size() == 100);
  CHECK(std::equal(some.in_loss.begin(), some.in_loss.end(), set.in_loss.begin()));

  options.token_budget = 0;
  const auto load = [&](const std::filesystem::path& path) {
    return [&, path] { load_sequences(world, {path}, tokenizer.get(), options, 768); };
  };
  CHECK(fails_with(world, "no response", load(sample)));
  test::write_text(folder / "plain.txt", "text");
  CHECK(fails_with(world, "plain text does not say", load(folder / "plain.txt")));
  const auto tokens = tokenize_files(Communicator::self(), *tokenizer, {sample}, folder / "t", false).bin;
  CHECK(fails_with(world, "token files do not say", load(tokens)));
}
