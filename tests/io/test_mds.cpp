#include "io/documents.hpp"

#include <cstring>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/mds.hpp>
#include <galapagos/io/token_file.hpp>

using namespace galapagos;
using test::contains;
using test::Documents;
using test::input_error;

namespace {

using Ids = std::vector<std::int32_t>;

std::filesystem::path shards(const std::string& name) {
  return test::data_file("mds/" + name);
}

std::vector<Ids> tokens_of(const std::filesystem::path& folder) {
  MdsReader reader(folder);
  std::vector<Ids> all;
  const auto column = mds_token_column(reader);
  for (Ids ids; column && reader.next();) {
    read_mds_tokens(reader, *column, ids);
    all.push_back(ids);
  }
  CHECK_FALSE(reader.next());
  return all;
}

/// A folder with one shard of the given columns and samples (their sizes and values, as stored).
struct Written {
  Written(const Json& names, const Json& encodings, const Json& sizes,
          const std::vector<std::string>& samples) {
    std::string head, body;
    const auto number = [](std::size_t value) {
      const auto bytes = static_cast<std::uint32_t>(value);
      return std::string(reinterpret_cast<const char*>(&bytes), 4);
    };
    head = number(samples.size());
    std::size_t at = 4 * (samples.size() + 2) + 2;
    head += number(at);
    for (const std::string& sample : samples) {
      at += sample.size();
      head += number(at);
      body += sample;
    }
    shard = head + "{}" + body;
    index = {{"version", 2},
             {"shards", Json::array({{{"column_names", names},
                                      {"column_encodings", encodings},
                                      {"column_sizes", sizes},
                                      {"format", "mds"},
                                      {"samples", samples.size()},
                                      {"raw_data", {{"basename", "shard.mds"}, {"bytes", shard.size()}}},
                                      {"zip_data", nullptr}}})}};
  }

  std::string error() const {
    const test::TemporaryFolder folder;
    test::write_text(folder / "index.json", index.dump());
    test::write_text(folder / "shard.mds", shard);
    return input_error([&] {
      if (is_token_file(folder.path())) return static_cast<void>(tokens_of(folder.path()));
      test::read_all(folder.path());
    });
  }

  std::string shard;
  Json index;
};

Written texts() {
  return {{"text"},
          {"str"},
          Json::array({nullptr}),
          {std::string("\2\0\0\0Hi", 6), std::string("\3\0\0\0you", 7)}};
}

}  // namespace

TEST_CASE("MDS shards of tokens in all their layouts", "[mds]") {
  const std::vector<Ids> all = tokens_of(shards("tokens"));
  REQUIRE(all.size() == 6);
  CHECK(all[0] == Ids{363, 393, 579});
  CHECK(all[1].size() == 300);
  CHECK(all[3] == Ids{744});
  CHECK(tokens_of(shards("bytes")) == all);
  CHECK(tokens_of(shards("dynamic")) == std::vector<Ids>{all[0], all[1], all[2], all[4], all[5]});
  const std::vector<Ids> fixed = tokens_of(shards("fixed"));
  REQUIRE(fixed.size() == 4);
  for (const auto& [which, whole] : {std::pair(0, 1), std::pair(1, 2), std::pair(2, 4), std::pair(3, 5)}) {
    const Ids& ids = all[static_cast<std::size_t>(whole)];
    CHECK(fixed[static_cast<std::size_t>(which)] == Ids(ids.begin(), ids.begin() + 4));
  }
  CHECK(is_token_file(shards("tokens")));
  CHECK_FALSE(is_token_file(shards("text")));
  CHECK_FALSE(is_token_file(shards("")));
}

TEST_CASE("MDS shards of texts and of conversations", "[mds]") {
  CHECK(test::read_all(shards("text")) ==
        Documents{"Hello", "", "Zwei\n\xc3\xbc \xe4\xbd\xa0\xe5\xa5\xbd", "end"});
  CHECK(test::read_all(shards("chat")) == Documents{"HiYes"});
  TextOptions options;
  options.text_key = "n";
  CHECK(contains(input_error([&] { test::read_all(shards("text"), options); }),
                 "a column 'n' of int, not str or json"));
  options.text_key = "m";
  CHECK(contains(input_error([&] { test::read_all(shards("text"), options); }),
                 "they have n (int), text (str)"));
  CHECK(contains(input_error([&] { test::read_all(shards("tokens")); }), "holds tokens, not texts"));
  CHECK(contains(input_error([&] { test::read_all(shards("")); }), "a folder without index.json"));
}

TEST_CASE("a damaged or strange folder of MDS shards is refused", "[mds]") {
  CHECK(texts().error().empty());
  Written one = texts();
  one.index["version"] = 1;
  CHECK(contains(one.error(), "version 1, not 2"));
  one = texts();
  one.index["shards"][0]["format"] = "json";
  CHECK(contains(one.error(), "shards of the format 'json'"));
  one = texts();
  one.index["shards"][0]["raw_data"]["bytes"] = UINT32_MAX;  // none of which is taken before it is there
  CHECK(contains(one.error(), "where the index says 4294967295"));
  one = texts();
  one.index["shards"][0]["raw_data"]["basename"] = "../shard.mds";
  CHECK(contains(one.error(), "outside the folder"));
  one = texts();
  one.index["shards"][0]["raw_data"]["basename"] = "other.mds";
  CHECK(contains(one.error(), "a shard that the index names is missing"));
  one = texts();
  one.index["shards"][0]["samples"] = 3;
  CHECK(contains(one.error(), "another number of samples"));
  one = texts();
  one.index["shards"][0].erase("samples");
  CHECK(contains(one.error(), "missing key 'samples'"));
  one = texts();
  one.index["shards"][0]["column_sizes"] = Json::array();
  CHECK(contains(one.error(), "no encoding or size"));
  one = texts();
  one.shard.pop_back();
  CHECK(contains(one.error(), "where the index says"));
  one = texts();
  one.shard += "x";
  CHECK(contains(one.error(), "more bytes where the index says"));
  for (std::size_t byte = 4; byte < 16; ++byte) {  // where samples lie
    one = texts();
    one.shard[byte] = '\xff';
    CHECK_FALSE(one.error().empty());
  }
  one = texts();
  one.shard[18] = '\x03';  // what the text's size says
  CHECK(contains(one.error(), "a sample shorter than its columns"));
  one = texts();
  one.index["shards"][0]["zip_data"] = {{"basename", "x.br"}, {"bytes", 3}};
  one.index["shards"][0]["compression"] = "br:11";
  CHECK(one.error().empty());  // the raw one is there
  one.index["shards"][0]["raw_data"]["basename"] = "other.mds";
  CHECK(contains(one.error(), "shards compressed by 'br:11'"));
}

TEST_CASE("values in MDS shards that are no token ids are refused", "[mds]") {
  const auto error = [](const std::string& encoding, const std::string& value) {
    return Written({"tokens"}, {encoding}, Json::array({nullptr}),
                   {std::string(1, static_cast<char>(value.size())) + std::string(3, '\0') + value})
        .error();
  };
  using namespace std::string_literals;
  CHECK(error("ndarray:int32", "\x04\1\5\0\0\0"s).empty());
  CHECK(contains(error("ndarray:int32", "\x04\1\xff\xff\xff\xff"s), "below 0"));
  CHECK(contains(error("ndarray:uint32", "\x04\1\xff\xff\xff\x7f"s), "above 2147483646"));
  CHECK(contains(error("ndarray:int32", "\x04\1\5\0\0"s), "3 bytes of int32"));
  CHECK(contains(error("ndarray:int32", "\x04"s), "cut short"));
  CHECK(contains(error("ndarray:float32", "\x04\1\5\0\0\0"s), "no integers"));
  CHECK(contains(error("ndarray", "\x22\x04\1\5\0\0\0"s), "no integers"));
  CHECK(contains(error("ndarray", ""s), "cut short"));
  CHECK(contains(error("bytes", "\1\0\0\0"s), "4 bytes of int64"));
  CHECK(contains(error("jpeg", "x"s), "without a column of texts; they have tokens (jpeg)"));
}
