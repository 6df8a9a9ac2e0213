#include "io/documents.hpp"

#include <random>

using namespace galapagos;
using namespace std::string_literals;
using test::contains;
using test::Documents;
using test::gzip;
using test::input_error;
using test::read_error;
using test::read_text;
using test::zstd;

namespace {

std::string one(const std::string& record, const std::string& key = {}) {
  TextOptions options;
  options.text_key = key;
  const Documents documents = read_text("a.jsonl", record + "\n", options);
  CHECK(documents.size() == 1);
  return documents.empty() ? "" : documents.front();
}

std::string error(const std::string& record, const std::string& key = {}) {
  TextOptions options;
  options.text_key = key;
  return read_error(
      "a.jsonl",
      "{\"text\": \"\", \"content\": \"\", \"a\": {\"b\": \"\"}, \"b\": {\"d\": \"\"}}\n" + record + "\n",
      options);
}

TextCounts counts_of(const std::string& name, const std::string& content) {
  const test::TemporaryFolder folder;
  test::write_text(folder / name, content);
  DocumentReader reader(folder / name);
  std::vector<TextPart> document;
  CHECK(reader.next(document));
  return reader.counts();
}

/// The documents read, and how many records had none.
std::pair<Documents, int> read_past(const std::string& name, const std::string& content) {
  const test::TemporaryFolder folder;
  test::write_text(folder / name, content);
  DocumentReader reader(folder / name);
  std::pair<Documents, int> found;
  for (std::vector<TextPart> document;;) {
    try {
      if (!reader.next(document)) return found;
      found.first.push_back(test::whole(document));
    } catch (const BadRecord&) {
      ++found.second;
    }
  }
}

}  // namespace

TEST_CASE("faults in what nobody reads do not matter", "[records]") {
  for (const std::string& other :
       {"NaN"s, "-Infinity"s, "1e999999"s, "123456789012345678901234567890"s, "\"\\ud800\""s, "\"\\q\""s,
        "\"\xff\xfe\""s, std::string(5000, '[') + std::string(5000, ']'),
        "{\"a\": 1, \"a\": [\"}\", \"\\\\\", \"\\\"]\"]}"s, "01"s, "\"a\tb\0c\""s}) {
    INFO(other.substr(0, 40));
    CHECK(one("{\"x\": " + other + ", \"text\": \"t\", \"y\":" + other + "}") == "t");
  }
  CHECK(one("{\"m\": 1, \"m\": 2, \"text\": \"t\", \"\\ud800\": 3, \"\\q\": 4}") == "t");
}

TEST_CASE("of the same key the last counts, as in Python", "[records]") {
  CHECK(one(R"({"text": "a", "text": "b"})") == "b");
  CHECK(one(R"({"text": 5, "t\u0065xt": "b"})") == "b");
  CHECK(one(R"({"a": {"b": "x"}, "a": {"b": 1, "b": "y"}})", "a.b") == "y");
}

TEST_CASE("strings are read as Python reads them", "[records]") {
  CHECK(one(R"({"text": "\"\\\/\b\f\n\r\t\u00e9\u20ac\ud83d\ude00"})") ==
        "\"\\/\b\f\n\r\t\u00e9\u20ac\U0001F600");
  CHECK(one(R"({"text": "a\u0000b"})") == "a\0b"s);
  CHECK(one("{\"text\": \"a\tb\"}") == "a\tb");
  CHECK(one(R"({"text": "\\"})") == "\\");
  CHECK(one(R"({"text": "\\\\\""})") == "\\\\\"");
  CHECK(one(R"({"text": "\ud800"})") == "\ufffd");
  CHECK(one(R"({"text": "\ud800\ud800\udc00\udfff\u0041"})") == "\ufffd\U00010000\ufffdA");
  CHECK(one(R"({"text": "\ud800\n"})") == "\ufffd\n");
}

TEST_CASE("what had to be replaced is counted", "[records]") {
  TextCounts counts =
      counts_of("a.jsonl", "{\"other\": \"\xff\\ud800\", \"text\": \"\xc3\xa4\xff z\xe2\x96 \\udc00\"}\n");
  CHECK(counts.characters == 7);
  CHECK(counts.invalid == 2);
  CHECK(counts.surrogates == 1);
  counts = counts_of("a.txt", "caf\xe9 caf\xc3\xa9 \xef\xbf\xbd");
  CHECK(counts.characters == 11);
  CHECK(counts.replaced() == 1);
}

TEST_CASE("the text may stand under another key", "[records]") {
  CHECK(one(R"({"text": "a", "content": "b"})", "content") == "b");
  CHECK(one(R"({"data": {"body": "b"}})", "data.body") == "b");
  CHECK(one(R"({"data": {"body": "b"}, "data.body": "whole"})", "data.body") == "whole");
  CHECK(one(R"({"a.b": {"c.d": "x"}, "a": {"b": {"c": {"d": "y"}}}})", "a.b.c.d") == "x");
  CHECK(one(R"({"a.b": {"c": 1}, "a": {"b": {"c": {"d": "y"}}}})", "a.b.c.d") == "y");
  for (const char* key : {".", "..", ".a", "a."})
    CHECK(contains(error(R"({"": "x", "a": {}})", key), "missing key"));
}

TEST_CASE("records without a text are refused with what is there", "[records]") {
  const std::string other = error(R"({"id": 3, "body": "x"})");
  CHECK(contains(other, "a.jsonl, line 2"));
  CHECK(contains(other, "missing key 'text'"));
  CHECK(contains(other, "'id', 'body'"));
  CHECK(contains(other, "--text-key"));
  CHECK(contains(other, "--skip-bad-lines"));
  CHECK(contains(error(R"({"b": {"c": "d"}})", "a.b"), "missing key 'a.b'"));
  CHECK(contains(error(R"({"b": {"c": "d", "e": {"f": 1}}, "g": 1})", "b.d"),
                 "the record has 'b.c', 'b.e', 'g'"));
  CHECK(contains(error(R"({"content": 5})", "content"), "is a number"));
  CHECK(contains(error(R"({"text": null})"), "is null"));
  CHECK(contains(error(R"({"text": ["a"]})"), "is a list"));
  CHECK(contains(error(R"({"text": {"a": 1}})"), "is an object"));
  CHECK(contains(error("{}"), "no key at all"));
  CHECK(contains(error("{'text': 'a'}"), "no key in double quotes"));
  CHECK(contains(error("{\"text\": 'a'}"), "is no JSON"));
  CHECK(contains(error(R"(["a"])"), "a list instead of an object"));
  CHECK(contains(error(R"([{"text": "a"}, {"text": "b"}])"), "name it .json"));
  CHECK(contains(error("\"text\""), "a string instead"));
  for (const char* broken : {R"({"text": "a)", R"({"text": "a")", R"({"text": "a", })", R"({"text": "a"} x)",
                             R"({"text": "a"}{"text": "b"})", R"({"text" "a"})", R"({"text": "a" "b": 1})",
                             R"({'text': 'a'})", R"({"text": "\q"})", R"({"text": "\u12"})", R"({"text": })",
                             R"({"text": "a", "x": [})", R"({"text": "a", "x": })", "{", "text"}) {
    INFO(broken);
    CHECK(contains(error(broken), "line 2"));
  }
  CHECK(contains(error("{\"text\": \"a\0b\"}"s), "zero byte"));
  CHECK(contains(error(std::string(4096, '\0')), "zero byte"));
}

TEST_CASE("a .json file is a list, an object, or one after the other", "[records]") {
  const Documents two = {"one", "two"};
  CHECK(read_text("a.json", R"([{"text": "one"}, {"text": "two"}])") == two);
  CHECK(read_text("a.json", "[\n {\n  \"text\": \"one\"\n },\n {\n  \"text\": \"two\"\n }\n]\n") == two);
  CHECK(read_text("a.json", "{\n  \"text\": \"one\"\n}\n{\n  \"text\": \"two\"\n}\n") == two);
  CHECK(read_text("a.json", R"({"text": "one"}{"text": "two"})") == two);
  CHECK(read_text("a.json", "{\n  \"x\": [\n  {\"text\": \"no\"}\n],\n  \"text\": \"one\"\n}\n") ==
        Documents{"one"});
  CHECK(read_text("a.json", "\n[\n{\"text\": \"one\"}\n,\n{\"text\": \"two\"}\n]") == two);
  CHECK(read_text("a.json", R"({"text": "one"})") == Documents{"one"});
  CHECK(read_text("a.json", R"([{"text": "[\\\"", "x": ["]", {"y": "}"}]}, {"text": "two"}])") ==
        Documents{"[\\\"", "two"});
  CHECK(contains(read_error("a.json", "[\n{\"text\": \"one\"},\n{\"text\": null}]"),
                 "a.json, record 2, line 3"));
  CHECK(contains(read_error("a.json", "{\"text\": \"one\"}\n{\"text\": null}\n"), "a.json, line 2"));
  CHECK(contains(read_error("a.json", R"([{"text": "one"}, {"text": "two"})"), "ends too early"));
  CHECK(contains(read_error("a.json", R"([{"text": "one"}, {"text": "tw)"), "ends within a string"));
  CHECK(contains(read_error("a.json", R"([["one"], ["two"]])"), "a list instead"));
}

TEST_CASE("values may lie across any buffer", "[records]") {
  std::mt19937_64 random(7);
  std::string lists = "[";
  Documents wanted;
  for (int i = 0; i < 60; ++i) {
    std::string written;
    wanted.emplace_back();
    for (std::size_t left = random() % 60'000; left > 0; --left) {
      const auto which = random() % 8;
      written += which == 0 ? "\\\\" : which == 1 ? "\\\"" : which == 2 ? "]" : "x";
      wanted.back() += which == 0 ? '\\' : which == 1 ? '"' : which == 2 ? ']' : 'x';
    }
    lists += (i > 0 ? ",\n" : "") + "{\"y\": [{}, \"\\\\\"], \"text\":\""s + written + "\"}";
  }
  lists += "]";
  CHECK(read_text("a.json", lists) == wanted);
  CHECK(read_text("a.json", gzip(lists)) == wanted);
  CHECK(read_text("a.json", zstd(lists)) == wanted);
}

TEST_CASE("after a bad record the next is read", "[records]") {
  const auto [lines, bad_lines] =
      read_past("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\n{\"text\": 5}\n{\"text\": \"c\"}\n");
  CHECK(lines == Documents{"a", "c"});
  CHECK(bad_lines == 2);
  const auto [named_json, bad_first] =
      read_past("a.json", "{\"text\": \"a\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n");
  CHECK(named_json == Documents{"b", "c"});
  CHECK(bad_first == 1);
  const auto [values, bad_values] =
      read_past("a.json", R"([{"text": "a"}, {"text": }, 7, null, ["x"], {"text": "c"})");
  CHECK(values == Documents{"a", "c"});
  CHECK(bad_values == 5);
}

TEST_CASE("no damage to a file of records is a crash", "[records]") {
  std::string lines, list;
  for (int i = 0; i < 20; ++i) {
    const std::string record = R"({"id": )" + std::to_string(i) +
                               R"(, "text": "a\n\u00e9\ud83d\ude00", "meta": {"x": [1, null, "}"]}})";
    lines += record + "\n";
    list += (i > 0 ? ",\n" : "[") + record;
  }
  std::mt19937_64 random(11);
  for (int i = 0; i < 400; ++i) {
    input_error([&] { read_past("a.jsonl", test::mutated(lines, random)); });
    input_error([&] { read_past("a.json", test::mutated(list + "]", random)); });
  }
}
