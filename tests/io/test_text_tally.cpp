#include "support/catch.hpp"
#include "support/files.hpp"

#include <functional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/io/tokenize.hpp>

using namespace galapagos;

// Runs on every rank: CHECK only, so that no rank leaves the others alone in a collective.

namespace {

/// A model's tokenizer and, on each rank, the same files.
class Text {
 public:
  explicit Text(const Communicator& comm)
      : comm_(comm), tokenizer_(Tokenizer::load(test::data_file("models/llama3_tiny"))) {}

  void write(const std::string& name, const std::string& content) const {
    test::write_text(folder_ / name, content);
  }

  TokenSet load(const std::vector<std::string>& names, const TextOptions& text, std::int64_t budget = 0,
                bool alone = false) const {
    SequenceOptions options{64, budget, {}};
    options.text = text;
    options.fewer = true;
    const Communicator self = Communicator::self();
    return load_sequences(alone ? self : comm_, paths(names), tokenizer_.get(), options, 768);
  }
  /// What all ranks are told that cannot be loaded; empty where it can.
  std::string error(const std::vector<std::string>& names, const TextOptions& text,
                    std::int64_t budget = 0) const {
    std::string message;
    try {
      load(names, text, budget);
    } catch (const FailedElsewhere&) {
    } catch (const Error& error) {
      message = error.what();
    }
    const auto length = comm_.all_gather<std::uint64_t>(message.size());
    int teller = 0;
    while (teller + 1 < comm_.size() && length[static_cast<std::size_t>(teller)] == 0) ++teller;
    return comm_.broadcast_string(message, teller);
  }
  std::vector<std::filesystem::path> paths(const std::vector<std::string>& names) const {
    std::vector<std::filesystem::path> all;
    for (const std::string& name : names) all.push_back(folder_ / name);
    return all;
  }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }

 private:
  const Communicator& comm_;
  std::unique_ptr<Tokenizer> tokenizer_;
  test::TemporaryFolder folder_;
};

TextOptions skipping(std::int64_t records) {
  TextOptions options;
  options.skip_bad_lines = records;
  return options;
}

/// `count` lines of 100 bytes; each line with a number in `bad` is broken.
std::string lines(int count, const std::function<bool(int)>& bad = {}) {
  std::string text;
  for (int i = 1; i <= count; ++i) {
    const std::string number = std::to_string(1'000'000 + i);
    text += bad && bad(i) ? "{\"id\": " + number + "}\n"
                          : "{\"text\": \"" + number + std::string(70, 'x') + "\", \"id\": 1}\n";
  }
  return text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("bad records are passed over and counted, whatever the number of ranks", "[tally]") {
  const auto world = Communicator::world();
  const Text text(world);
  const auto bad = [](int line) { return line % 500 == 7; };  // 20, in many blocks
  text.write("bad.jsonl", lines(10'000, bad));
  text.write("good.jsonl", lines(9'000));
  std::string good;
  for (int i = 1; i <= 10'000; ++i) {
    if (!bad(i)) good += "{\"text\": \"" + std::to_string(1'000'000 + i) + std::string(70, 'x') + "\"}\n";
  }
  text.write("wanted.jsonl", good);

  const TokenSet wanted = text.load({"wanted.jsonl"}, {});
  CHECK(text.load({"bad.jsonl"}, skipping(20)).fingerprint() == wanted.fingerprint());
  CHECK(text.load({"bad.jsonl"}, skipping(20), 0, true).fingerprint() == wanted.fingerprint());
  CHECK(text.load({"bad.jsonl", "good.jsonl", "bad.jsonl"}, skipping(20)).documents.size() >= 28'960);

  const std::string more = text.error({"bad.jsonl"}, skipping(19));
  CHECK(contains(more, "more than 19 records have no usable text"));
  CHECK(contains(more, "bad.jsonl, line 7]"));
  CHECK(contains(more, "missing key 'text'"));
  const std::string none = text.error({"good.jsonl", "bad.jsonl"}, {});
  CHECK(contains(none, "bad.jsonl, line 7]"));
  CHECK(contains(none, "--skip-bad-lines"));

  const auto summary = tokenize_files(Communicator::self(), text.tokenizer(), text.paths({"bad.jsonl"}),
                                      text / "tokens", false, skipping(20));
  CHECK(summary.documents == 9'980);
}

TEST_CASE("what lies behind the last token that is used is not judged", "[tally]") {
  const auto world = Communicator::world();
  const Text text(world);
  text.write("late.jsonl", lines(20'000, [](int line) { return line > 19'000; }));
  text.write("late.txt", std::string(3'000, 'x') + std::string(200, '\xff'));
  const TokenSet all = text.load({"late.jsonl"}, skipping(1'000));
  CHECK(text.error({"late.jsonl"}, skipping(999)).size() > 0);
  CHECK(text.error({"late.jsonl"}, {}, 1'000).empty());
  CHECK(text.error({"late.jsonl", "late.txt"}, skipping(1'000), std::ssize(all.tokens)).empty());
  CHECK(contains(text.error({"late.jsonl", "late.txt"}, skipping(1'000), std::ssize(all.tokens) + 1),
                 "late.txt"));
}

TEST_CASE("what cannot be read matters only where it is needed, whatever the number of ranks", "[tally]") {
  const auto world = Communicator::world();
  const Text text(world);
  text.write("good.jsonl", lines(2'000));  // 3 blocks
  text.write("cut.jsonl.gz", std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10));
  const std::int64_t tokens = std::ssize(text.load({"good.jsonl"}, {}).tokens);
  for (const std::string other : {"cut.jsonl.gz", "none.jsonl", "x.doc"}) {
    CHECK(text.error({"good.jsonl", other}, {}, tokens).empty());
    CHECK(contains(text.error({"good.jsonl", other}, {}, tokens + 1), other));
    CHECK(contains(text.error({other, "good.jsonl"}, {}, 1), other));
  }
}

TEST_CASE("a file that is hardly UTF-8 is refused, one that nearly is is read", "[tally]") {
  const auto world = Communicator::world();
  const Text text(world);
  const std::string latin1 = "Caf\xe9 au lait, d\xe9j\xe0 vu. ";
  std::string page, few;
  for (int i = 0; i < 50; ++i) page += latin1;
  for (int i = 0; i < 100; ++i) few += std::string(1'000, 'x') + (i < 90 ? "\xe9\xe9\xe9" : "y");
  text.write("latin1.txt", page);
  text.write("latin1.jsonl", lines(5'000) + "{\"text\": \"" + page + "\"}\n");  // 150 of half a million
  text.write("begins.jsonl", "{\"text\": \"" + page + page + "\"}\n" + lines(5'000));
  std::string pages;
  for (int i = 0; i < 10; ++i) pages += page;
  text.write("stops.jsonl", "{\"text\": \"" + pages + "\"}\n" + lines(20'000));
  text.write("few.txt", few);
  text.write("three.txt", "\xe9\xe9\xe9 of some");
  text.write("four.txt", "\xe9\xe9\xe9\xe9 of some");
  text.write("halves.jsonl", R"({"text": "\ud800 \ud801 \ud802 \ud803"})");
  TextOptions allow;
  allow.allow_invalid_utf8 = true;

  const std::string refused = text.error({"three.txt", "latin1.txt"}, {});
  CHECK(contains(refused, "150 of the first 1,150 characters are not UTF-8"));
  CHECK(contains(refused, "latin1.txt"));
  CHECK(contains(refused, "iconv"));
  CHECK(contains(refused, "--allow-invalid-utf8"));
  CHECK(text.error({"latin1.txt"}, allow).empty());
  CHECK(text.error({"latin1.jsonl"}, {}).empty());
  CHECK(text.error({"begins.jsonl"}, {}).empty());
  CHECK(contains(text.error({"stops.jsonl"}, {}), "1,500 of the first 5"));  // when 64 KiB are read
  CHECK(text.error({"few.txt"}, {}).empty());
  CHECK(text.error({"three.txt"}, {}).empty());
  CHECK(contains(text.error({"four.txt"}, {}), "4 of the first 12"));
  CHECK(contains(text.error({"halves.jsonl"}, {}), "halves of characters"));
  CHECK(text.error({"halves.jsonl"}, allow).empty());
}

TEST_CASE("files without any text are named", "[tally]") {
  const auto world = Communicator::world();
  const Text text(world);
  text.write("zero.txt", "");
  text.write("zero.jsonl.gz", "");
  text.write("blank.jsonl", "\n \n");
  text.write("empty.jsonl", "{\"text\": \"\"}\n{\"text\": \"\"}\n");
  text.write("null.jsonl", "{\"text\": null}\n");
  text.write("cut.json", "[");
  CHECK(contains(text.error({"zero.txt"}, {}), "zero.txt (0 bytes)"));
  CHECK(contains(text.error({"zero.jsonl.gz"}, {}), "zero.jsonl.gz (0 bytes)"));
  CHECK(contains(text.error({"blank.jsonl"}, {}), "(no record)"));
  CHECK(contains(text.error({"zero.txt", "empty.jsonl"}, {}), "empty.jsonl (2 empty texts)"));
  CHECK(contains(text.error({"cut.json", "null.jsonl"}, skipping(1)), "null.jsonl (only bad records)"));
  CHECK(contains(text.error(std::vector<std::string>(7, "zero.txt"), {}), "zero.txt (0 bytes) and 2 more"));
  text.write("good.jsonl", lines(10));
  CHECK(text.load({"zero.txt", "good.jsonl", "blank.jsonl"}, {}).sequences() >= 10);
}
