#include "io/documents.hpp"
#include "support/skip.hpp"

#include <galapagos/core/file.hpp>

using namespace galapagos;
using test::contains;
using test::Documents;
using test::input_error;

namespace {

const std::string second = "Zwei\n\"\xc3\xbc\" \\ \xe4\xbd\xa0\t\x01";

std::filesystem::path table(const std::string& name) {
  return test::data_file("tables/" + name);
}

/// Whether this build reads them. If not, it says what does.
bool reads_tables() {
  const std::string error = input_error([] { test::read_all(table("chat.parquet")); });
  if (error.empty()) return true;
  CHECK(contains(error, "is a Parquet file, which this build without Apache Arrow cannot read"));
  CHECK(contains(error, "duckdb"));
  CHECK(contains(input_error([] { test::read_all(table("chat.arrow")); }), "Dataset.from_file"));
  CHECK(contains(input_error([] { test::read_all(table("saved")); }), "without Apache Arrow"));
  return false;
}

/// What is read past records without a text.
Documents read_past(const std::filesystem::path& path, const TextOptions& options = {}) {
  DocumentReader reader(path, options);
  Documents found;
  for (std::vector<TextPart> document;;) {
    try {
      if (!reader.next(document)) return found;
      found.push_back(test::whole(document));
    } catch (const BadRecord& bad) {
      CHECK(contains(bad.what(), "key 'text' should be a string but is null"));
      found.emplace_back("bad");
    }
  }
}

}  // namespace

TEST_CASE("Parquet and Arrow files are read or refused with what converts them", "[tables]") {
  if (!reads_tables()) return test::say_skipped("this build has no Apache Arrow");
  const Documents all = {"Hello", second, "", "bad", "five", "six"};
  CHECK(read_past(table("text.parquet")) == all);
  CHECK(read_past(table("coded.parquet")) == all);
  CHECK(read_past(table("saved")) == all);
  TextOptions options;
  options.text_key = "data.body";
  CHECK(read_past(table("text.parquet"), options) == Documents{"0", "1", "2", "3", "4", "5"});
  CHECK(test::read_all(table("chat.parquet")) == Documents{"HiYes"});
  CHECK(test::read_all(table("chat.arrow")) == Documents{"HiYes"});
  options.text_key = "body";
  CHECK(contains(input_error([&] { test::read_all(table("text.parquet"), options); }),
                 "its columns are id, text, data"));
  const std::string bytes = read_file(table("text.parquet"));
  const test::TemporaryFolder folder;
  test::write_text(folder / "cut.parquet", bytes.substr(0, bytes.size() / 2));
  CHECK(contains(input_error([&] { test::read_all(folder / "cut.parquet"); }), "cannot be read"));
}

TEST_CASE("a folder of several splits, or a text that begins as Parquet", "[tables]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "dataset_dict.json", "{\"splits\": [\"train\", \"test\"]}");
  CHECK(contains(input_error([&] { test::read_all(folder.path()); }),
                 "give the folder of one of them: train, test"));
  test::write_text(folder / "a.txt", "PAR1 and more");
  CHECK(test::read_all(folder / "a.txt") == Documents{"PAR1 and more"});
}
