#include "io/documents.hpp"

#include <sys/stat.h>
#include <thread>

using namespace galapagos;
using namespace std::string_literals;
using test::contains;
using test::Documents;
using test::gzip;
using test::read_error;
using test::read_text;
using test::zstd;

namespace {

const std::string lines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
const Documents two = {"one", "two"};
const std::string skippable = "\x50\x2a\x4d\x18\x04\0\0\0abcd"s;

/// In UTF-16, as it is written on a PC, without a byte order mark.
std::string utf16(const std::string& ascii) {
  std::string wide;
  for (const char c : ascii) wide += {c, '\0'};
  return wide;
}

}  // namespace

TEST_CASE("names count in any case, with all suffixes of compression", "[text]") {
  for (const char* name : {"a.JSONL", "a.Json", "a.ndjson", "a.jsonlines"})
    CHECK(read_text(name, lines) == two);
  CHECK(read_text("A.TXT", lines) == Documents{lines});
  CHECK(read_text("A.TXT.GZ", gzip(lines)) == Documents{lines});
  CHECK(read_text("a.JSONL.Zst", zstd(lines)) == two);
  CHECK(read_text("train.00000-of-01024.json.gz", gzip(lines)) == two);
}

TEST_CASE("compression is known by the content, not by the name", "[text]") {
  for (const char* name :
       {"a.jsonl", "a.zst.jsonl", "a.json", "a.jsonl.gz", "a.jsonl.zst", "a.zst", "a.gz", "a"}) {
    INFO(name);
    CHECK(read_text(name, gzip(lines)) == two);
    CHECK(read_text(name, zstd(lines)) == two);
    CHECK(read_text(name, skippable + zstd(lines) + skippable) == two);
    CHECK(read_text(name, zstd(gzip(lines))) == two);
  }
  CHECK(read_text("a.zst.jsonl", lines) == two);
  CHECK(contains(read_error("a.jsonl.gz", lines), "not compressed, although"));
  CHECK(contains(read_error("a.gz", gzip("plain text")), "does not end in"));
  CHECK(contains(read_error("a", "plain text"), "does not end in"));
  CHECK(read_text("a", "\n [ {\"text\": \"one\"},{\"text\": \"two\"} ]") == two);
}

TEST_CASE("a pipe is read from its beginning", "[text]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path pipe = folder / "a.jsonl";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  std::string many;
  for (int i = 0; i < 2000; ++i) many += lines;
  std::thread writer([&] { test::write_text(pipe, many); });
  const Documents documents = test::read_all(pipe);
  writer.join();
  CHECK(documents.size() == 4000);
}

TEST_CASE("records over several lines are no lines of records", "[text]") {
  const std::string pretty = "{\n\"a\": [\n{\"text\": \"no\"}\n],\n\"text\": \"one\"\n}\n";
  CHECK(read_text("a.json", pretty + "{\n\"text\": \"two\"\n}\n") == two);
}

TEST_CASE("nothing is no document", "[text]") {
  for (const char* name : {"a.txt", "a.jsonl", "a.json", "a.jsonl.gz", "a.json.zst"}) {
    INFO(name);
    CHECK(read_text(name, "").empty());
    CHECK(read_text(name, gzip("")).empty());
    CHECK(read_text(name, zstd("")).empty());
    CHECK(read_text(name, gzip("\xef\xbb\xbf")).empty());
  }
  CHECK(read_text("a.jsonl", "\n \r\n\t\n").empty());
  CHECK(read_text("a.json", "\n [ ] \n").empty());
}

TEST_CASE("what is no text is called by its name", "[text]") {
  const auto refused = [](const std::string& name, const std::string& content, const std::string& words) {
    INFO(name << ": " << words);
    const std::string error = read_error(name, content);
    CHECK(contains(error, words));
    CHECK(contains(error, name));
  };
  refused("a.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "git lfs pull");
  refused("a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "Git LFS pointer");
  refused("a.json.gz", "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n",
          "Git LFS pointer");
  refused("a.jsonl", "\n<!DOCTYPE html>\n<html>login</html>\n", "HTML page");
  refused("a.json", "<HTML><body>", "HTML page");
  refused("a.jsonl", "<?xml version=\"1.0\"?><Error/>", "XML");
  refused("a.parquet", "PAR1\0\0\0\0"s, "Parquet");
  refused("a.txt", "PAR1\0\0\0\0"s, "duckdb");
  refused("a.arrow", "ARROW1\0\0"s, "Arrow");
  refused("a.jsonl.bz2", "BZh91AY&SY", "bunzip2");
  refused("a.jsonl",
          "\xfd"
          "7zXZ\0"s,
          "unxz");
  refused("a.zip", "PK\x03\x04\x14", "unzip");
  refused("a.jsonl.gz", gzip("a.jsonl" + std::string(250, '\0') + "ustar\0"s), "tar archive");
  CHECK(read_text("a.txt", "PAR1 is a word") == Documents{"PAR1 is a word"});
  CHECK(read_text("a.txt", "<html>") == Documents{"<html>"});
}

TEST_CASE("a byte order mark is no text, and one of UTF-16 is refused", "[text]") {
  const std::string mark = "\xef\xbb\xbf";
  CHECK(read_text("a.txt", mark + "text" + mark) == Documents{"text" + mark});
  CHECK(read_text("a.jsonl", mark + lines + mark + lines) == Documents{"one", "two", "one", "two"});
  CHECK(read_text("a.json", mark + lines) == two);
  CHECK(read_text("a.json", mark + "[{\"text\": \"one\"}]") == Documents{"one"});
  CHECK(read_text("a.txt.gz", gzip(mark + "text")) == Documents{"text"});
  const std::string swapped = "\0t\0e\0x\0t\0 \0t\0e\0x\0t"s;
  for (const std::string& wide :
       {utf16("text text text"), "\xff\xfe" + utf16("text"), swapped, "\xfe\xff" + swapped}) {
    CHECK(contains(read_error("a.txt", wide), "UTF-16"));
    CHECK(contains(read_error("a.jsonl.gz", gzip(wide)), "iconv"));
  }
  CHECK(contains(read_error("a.txt", "\xff\xfe\0\0t\0\0\0"s), "UTF-32"));
}

TEST_CASE("lines end as on any system", "[text]") {
  CHECK(read_text("a.jsonl", "{\"text\": \"one\"}\r{\"text\": \"two\"}\r") == two);
  CHECK(read_text("a.json", "{\"text\": \"one\"}\r{\"text\": \"two\"}") == two);
  CHECK(read_text("a.jsonl", "{\"text\": \"one\"}\r\n\r\n{\"text\": \"two\"}\r\n") == two);
  CHECK(read_text("a.jsonl",
                  "{\"text\": \"a\xe2\x80\xa8"
                  "b\xc2\x85"
                  "c\"}\n") == Documents{"a\xe2\x80\xa8"
                                         "b\xc2\x85"
                                         "c"});
  CHECK(read_text("a.txt", "a\rb\r\nc") == Documents{"a\rb\r\nc"});
  CHECK(contains(read_error("a.jsonl", "{\"text\": \"one\"}\r{\r{\"text\": \"two\"}\r"), "line 2"));
}
