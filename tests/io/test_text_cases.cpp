#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/io/token_source.hpp>

using namespace galapagos;

// Files as they circulate, from $GALAPAGOS_TEST_DATA. Runs on every rank: CHECK only.

namespace {

/// What becomes of a file: so many documents, or else an error with these words.
struct Case {
  const char* name;
  int documents;
  const char* words = "";
  TextOptions options = {};
};

TextOptions text_key(const char* key) {
  TextOptions options;
  options.text_key = key;
  return options;
}

TextOptions skipping(std::int64_t records) {
  TextOptions options;
  options.skip_bad_lines = records;
  return options;
}

const std::vector<Case> cases = {
    {"array.jsonl", 0, "array.jsonl, line 1"},
    {"bom.jsonl", 3},
    {"bom.txt", 1},
    {"c4-train.00000-of-01024.json.gz", 3},
    {"content.jsonl", 0, "the record has 'content'"},
    {"content.jsonl", 3, "", text_key("content")},
    {"cr.jsonl", 3},
    {"crlf.jsonl", 3},
    {"deep.jsonl", 1},
    {"dup.jsonl", 4},
    {"empty.jsonl", 0, "0 bytes"},
    {"empty.jsonl.gz", 0, "no record"},
    {"empty.txt", 0, "0 bytes"},
    {"emptytext.jsonl", 3},
    {"frames.jsonl.zst", 6},
    {"gbk.txt", 0, "are not UTF-8"},
    {"gzgarbage.jsonl.gz", 0, "damaged"},
    {"gznoext.jsonl", 3},
    {"gztrunc.jsonl.gz", 0, "too early"},
    {"html.jsonl", 0, "HTML page"},
    {"lfs.jsonl", 0, "git lfs pull"},
    {"members.jsonl.gz", 6},
    {"missing.jsonl", 0, "missing.jsonl, line 4"},
    {"missing.jsonl", 6, "", skipping(1)},
    {"nanfield.jsonl", 7},
    {"notgz.jsonl.gz", 0, "not compressed, although"},
    {"nulblock.jsonl", 0, "zero byte"},
    {"nulesc.jsonl", 7},
    {"nulraw.jsonl", 0, "nulraw.jsonl, line 4"},
    {"nulraw.jsonl", 6, "", skipping(3)},
    {"null.jsonl", 0, "null.jsonl, line 4"},
    {"null.jsonl", 6, "", skipping(1)},
    {"number.jsonl", 0, "number.jsonl, line 4"},
    {"number.jsonl", 6, "", skipping(1)},
    {"one.zst.jsonl", 3},
    {"onetok.jsonl", 3},
    {"onlyempty.jsonl", 0, "3 empty texts"},
    {"p1.zst", 3},
    {"plain.json", 3},
    {"pretty.jsonl", 0, "name it .json"},
    {"skippable.jsonl.zst", 3},
    {"tabraw.jsonl", 4},
    {"trunc.jsonl", 0, "trunc.jsonl, line 4"},
    {"trunc.jsonl", 3, "", skipping(1)},
    {"u2028.jsonl", 3},
    {"utf16.jsonl", 0, "UTF-16"},
    {"utf16.txt", 0, "iconv -f UTF-16"},
    {"zero.jsonl.gz", 0, "0 bytes"},
    {"zsttrunc.jsonl.zst", 0, "too early"},
};

}  // namespace

TEST_CASE("files in circulation are read, or refused for what they are", "[cases]") {
  const auto world = Communicator::world();
  const auto folder = test::shared_file("cases/text");
  if (!folder) return;
  const auto tokenizer = Tokenizer::load(*test::shared_file("models/stories260k"));
  for (const Case& each : cases) {
    SequenceOptions options{512, 0, {}};
    options.text = each.options;
    std::size_t documents = 0;
    std::string error;
    try {
      documents = load_sequences(world, {*folder / each.name}, tokenizer.get(), options, 512).sequences();
    } catch (const Error& thrown) {
      error = thrown.what();
    }
    INFO(each.name << ": " << error);
    CHECK(documents == static_cast<std::size_t>(each.documents));
    const std::string words = each.words;
    CHECK(world.all(error.empty() == words.empty()));
    CHECK(world.any(error.find(words) != std::string::npos));
  }
}
