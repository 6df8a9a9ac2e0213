#include "io/documents.hpp"

#include <random>

using namespace galapagos;
using test::contains;
using test::Documents;
using test::gzip;
using test::input_error;
using test::read_all;
using test::read_error;
using test::read_text;
using test::whole;
using test::zstd;

namespace {

const std::string lines =
    "{\"text\": \"one\"}\n\n \t\r\n{\"id\": 3, \"text\": \"zwei\\n\\u00fc\"}\r\n{\"text\": \"\"}";
const Documents expected = {"one", "zwei\n\xc3\xbc", ""};

}  // namespace

TEST_CASE("a .txt file is one document", "[text]") {
  CHECK(read_text("a.txt", "line\n\nline\r\n") == Documents{"line\n\nline\r\n"});
  CHECK(read_text("a.txt", "").empty());
  CHECK(read_text("a.txt.gz", gzip("x")) == Documents{"x"});
  CHECK(read_text("a.txt.zst", zstd("x")) == Documents{"x"});
  const std::string large(1'000'000, 'q');
  CHECK(read_text("a.txt", large) == Documents{large});
}

TEST_CASE("each line of a .jsonl file is a document, blank lines are not", "[text]") {
  CHECK(read_text("a.jsonl", lines) == expected);
  CHECK(read_text("a.jsonl", lines + "\n") == expected);
  CHECK(read_text("a.jsonl", "").empty());
  CHECK(read_text("a.jsonl.gz", gzip(lines)) == expected);
  CHECK(read_text("a.jsonl.zst", zstd(lines)) == expected);
}

TEST_CASE("lines may be longer than any buffer", "[text]") {
  std::string content;
  Documents wanted;
  std::mt19937_64 random(3);
  for (int i = 0; i < 40; ++i) {
    wanted.emplace_back(random() % 300'000, static_cast<char>('a' + i % 26));
    content += "{\"text\":\"" + wanted.back() + "\"}\n";
  }
  CHECK(read_text("a.jsonl", content) == wanted);
  CHECK(read_text("a.jsonl.gz", gzip(content)) == wanted);
  CHECK(read_text("a.jsonl.zst", zstd(content)) == wanted);
}

TEST_CASE("compressed files may come in several members and frames", "[text]") {
  const std::string first = lines.substr(0, 20);
  const std::string second = lines.substr(20);
  CHECK(read_text("a.jsonl.gz", gzip(first) + gzip("") + gzip(second)) == expected);
  CHECK(read_text("a.jsonl.gz", gzip(first) + gzip(second) + std::string(512, '\0')) == expected);
  CHECK(read_text("a.jsonl.zst", zstd(first) + zstd("") + zstd(second)) == expected);
}

TEST_CASE("instructions are read part by part", "[text]") {
  const test::TemporaryFolder folder;
  test::write_text(
      folder / "a.jsonl",
      "{\"prompt\": \"1+1=\", \"response\": \"2\"}\n"
      "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"u\"}, "
      "{\"role\": \"assistant\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"v\"}]}\n"
      "{\"text\": \"t\", \"prompt\": \"p\"}\n"
      "{\"prompt\": \"p\", \"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}]}\n");
  DocumentReader reader(folder / "a.jsonl");
  std::vector<TextPart> document;
  std::string texts, marks;
  while (reader.next(document)) {
    for (const TextPart& part : document) texts += part.text + '|', marks += part.response ? '1' : '0';
  }
  CHECK(texts == "1+1=|2|s|u|a|v|t|b|");
  CHECK(marks == "01001001");
}

TEST_CASE("documents can be passed over unread", "[text]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "a.jsonl", "{\"text\": \"one\"}\nnot JSON\n{\"text\": \"three\"}\n");
  DocumentReader reader(folder / "a.jsonl");
  std::vector<TextPart> document;
  CHECK(reader.next(document));
  CHECK(reader.document_bytes() == 15);
  CHECK(reader.skip());
  CHECK(reader.document_bytes() == 8);
  CHECK(reader.next(document));
  CHECK(whole(document) == "three");
  CHECK_FALSE(reader.skip());
}

TEST_CASE("invalid UTF-8 in a line counts as U+FFFD", "[text]") {
  CHECK(read_text("a.jsonl",
                  "{\"text\": \"a\xff"
                  "b\xe2\x96\"}\n") == Documents{"a\xef\xbf\xbd"
                                                 "b\xef\xbf\xbd"});
}

TEST_CASE("bad text files are refused with file and line", "[text]") {
  CHECK(contains(read_error("a.parquet", "x"), "a.parquet"));
  CHECK(contains(read_error("a.parquet", "x"), ".jsonl"));
  CHECK(contains(read_error("a.gz", gzip("x")), "does not end"));
  CHECK(contains(input_error([] { read_all("/nonexistent/a.txt"); }), "/nonexistent/a.txt"));
  CHECK(contains(read_error("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"\n"), "a.jsonl, line 3"));
  CHECK(contains(read_error("a.jsonl", "{\"txt\": \"a\"}\n"), "line 1"));
  CHECK(contains(read_error("a.jsonl", "{\"text\": 5}\n"), "line 1"));
  CHECK(contains(read_error("a.jsonl", "[1]\n"), "line 1"));
  CHECK(contains(read_error("a.jsonl", "{\"prompt\": \"a\"}\n"), "response"));
  CHECK(contains(read_error("a.jsonl", "{\"messages\": \"a\"}\n"), "no list"));
  CHECK(contains(read_error("a.jsonl", "{\"messages\": [\"a\"]}\n"), "line 1"));
  CHECK(contains(read_error("a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}\n"), "content"));
  const test::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "d.txt");
  CHECK(contains(input_error([&] { read_all(folder / "d.txt"); }), "folder"));
}

TEST_CASE("compressed files that are cut short or damaged are refused", "[text]") {
  std::string content;
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) content += "{\"text\": \"" + std::to_string(random()) + "\"}\n";
  const std::vector<std::pair<std::string, std::string>> files = {{"a.jsonl.gz", gzip(content)},
                                                                  {"a.jsonl.zst", zstd(content)}};
  for (const auto& [name, good] : files) {
    INFO(name);
    CHECK(read_text(name, good).size() == 2000);
    CHECK(read_text(name, "").empty());
    for (const std::size_t cut : {std::size_t{1}, std::size_t{9}, good.size() / 2, good.size() - 1}) {
      CHECK(contains(read_error(name, good.substr(0, cut)), name));
    }
    CHECK(contains(read_error(name, good + "tail"), "damaged"));
    for (int i = 0; i < 40; ++i) {
      const std::string bad = test::mutated(good, random);
      input_error([&] { read_text(name, bad); });  // anything but a crash
    }
  }
  CHECK(contains(read_error("a.jsonl.gz", content), "not compressed"));
  CHECK(contains(read_error("a.jsonl.zst", content), "not compressed"));
}
