#include "io/input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cstring>
#include <random>

#include <galapagos/core/file.hpp>
#include <galapagos/io/token_file.hpp>

using namespace galapagos;
using test::contains;
using test::input_error;
using Ids = std::vector<std::int32_t>;

namespace {

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
std::string packed(const std::vector<T>& values) {
  std::string bytes;
  for (const T value : values) put(bytes, value);
  return bytes;
}

struct Index {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  std::uint64_t version = 1;
  std::uint8_t type = 8;
  std::vector<std::int32_t> lengths = {2, 3, 0, 1};
  std::vector<std::int64_t> offsets = {0, 4, 10, 10};
  std::vector<std::int64_t> documents = {0, 2, 3, 4};
  std::string tail;

  std::string bytes() const {
    std::string out = magic;
    put(out, version);
    put(out, type);
    put(out, std::uint64_t{lengths.size()});
    put(out, std::uint64_t{documents.size()});
    return out + packed(lengths) + packed(offsets) + packed(documents) + tail;
  }
};

const std::string six_tokens = packed<std::uint16_t>({11, 12, 21, 22, 65535, 41});

class Pair {
 public:
  Pair(const std::string& idx, const std::string& bin) {
    test::write_text(folder_ / "x.idx", idx);
    test::write_text(folder_ / "x.bin", bin);
  }
  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::string error() const {
    return input_error([&] { TokenFile::open(path("x.bin")); });
  }

 private:
  test::TemporaryFolder folder_;
};

std::vector<Ids> read_all(const TokenFile& file) {
  std::vector<Ids> documents(file.documents());
  for (std::size_t i = 0; i < documents.size(); ++i) file.read(i, documents[i]);
  return documents;
}

std::string llm_c(std::int32_t magic, std::int32_t version, std::int32_t count, const std::string& tokens) {
  std::vector<std::int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return packed(header) + tokens;
}

}  // namespace

TEST_CASE("a Megatron pair is read by documents, from any of its names", "[tokens]") {
  const Pair pair(Index{}.bytes(), six_tokens);
  for (const char* name : {"x.bin", "x.idx", "x"}) {
    CHECK(is_token_file(pair.path(name)));
    const TokenFile file = TokenFile::open(pair.path(name));
    CHECK(file.tokens() == 6);
    CHECK(file.bytes_per_token() == 2);
    CHECK(file.length(0) == 5);
    CHECK(read_all(file) == std::vector<Ids>{{11, 12, 21, 22, 65535}, {}, {41}});
  }
  CHECK_FALSE(is_token_file(pair.path("x.jsonl")));
  CHECK(contains(TokenFile::open(pair.path("x")).description(), "Megatron"));
  Ids ids;
  TokenFile::open(pair.path("x")).read(0, ids, 3);
  CHECK(ids == Ids{11, 12, 21});
}

TEST_CASE("all widths of token ids can be read", "[tokens]") {
  const auto read = [](std::uint8_t type, const std::string& bin, std::int64_t width) {
    Index index;
    index.type = type;
    index.lengths = {2};
    index.offsets = {width};
    index.documents = {0, 1};
    index.tail = std::string(1, '\0');  // modes, one a sequence
    const Pair pair(index.bytes(), bin);
    return read_all(TokenFile::open(pair.path("x"))).front();
  };
  CHECK(read(1, packed<std::uint8_t>({0, 200, 3}), 1) == Ids{200, 3});
  CHECK(read(2, packed<std::int8_t>({0, 100, 3}), 1) == Ids{100, 3});
  CHECK(read(3, packed<std::int16_t>({0, 30000, 3}), 2) == Ids{30000, 3});
  CHECK(read(4, packed<std::int32_t>({0, 128255, 3}), 4) == Ids{128255, 3});
  CHECK(read(5, packed<std::int64_t>({0, 128255, 3}), 8) == Ids{128255, 3});
  CHECK(contains(input_error([&] { read(4, packed<std::int32_t>({0, -1, 3}), 4); }), "-1"));
  CHECK(contains(input_error([&] { read(5, packed<std::int64_t>({0, 1LL << 40, 3}), 8); }), "token id"));
}

TEST_CASE("damaged Megatron pairs are refused", "[tokens]") {
  const auto error = [](auto change) {
    Index index;
    change(index);
    return Pair(index.bytes(), six_tokens).error();
  };
  CHECK(error([](Index&) {}).empty());
  CHECK(contains(error([](Index& i) { i.magic[0] = 'N'; }), "Megatron index"));
  CHECK(contains(error([](Index& i) { i.version = 2; }), "version 2"));
  CHECK(contains(error([](Index& i) { i.type = 7; }), "type 7"));
  CHECK(contains(error([](Index& i) { i.lengths[1] = -3; }), "-3"));
  CHECK(contains(error([](Index& i) { i.lengths[3] = 2; }), "outside"));
  CHECK(contains(error([](Index& i) { i.offsets[1] = 5; }), "outside"));
  CHECK(contains(error([](Index& i) { i.offsets[1] = -2; }), "outside"));
  CHECK(contains(error([](Index& i) { i.offsets[1] = INT64_MAX - 1; }), "outside"));
  CHECK(contains(error([](Index& i) { i.lengths = {6, 6, 0, 0}, i.offsets = {0, 0, 0, 0}; }), "overlap"));
  CHECK(contains(error([](Index& i) { i.documents = {0, 3, 2, 4}; }), "ascend"));
  CHECK(contains(error([](Index& i) { i.documents = {0, 3}; }), "0 to 4"));
  CHECK(contains(error([](Index& i) { i.documents = {1, 4}; }), "0 to 4"));
  CHECK(contains(error([](Index& i) { i.documents.clear(); }), "0 to 4"));
  CHECK(contains(error([](Index& i) { i.tail = "x"; }), "not right"));

  std::string counts = Index{}.bytes();
  for (const std::size_t at : {18, 26}) {
    for (const std::uint64_t count :
         {UINT64_MAX, UINT64_MAX / 12 + 1, UINT64_MAX / 8 + 2, std::uint64_t{5}}) {
      std::string bad = counts;
      std::memcpy(bad.data() + at, &count, 8);
      CHECK(contains(Pair(bad, six_tokens).error(), "not right"));
    }
  }
  CHECK(contains(Pair(counts.substr(0, 20), six_tokens).error(), "Megatron index"));
  CHECK(contains(Pair(counts, "").error(), "outside"));
}

TEST_CASE("llm.c files of both versions are one document", "[tokens]") {
  const test::TemporaryFolder folder;
  const auto path = folder / "y.bin";
  test::write_text(path, llm_c(20240520, 1, 3, packed<std::uint16_t>({1, 50256, 65535})));
  CHECK(read_all(TokenFile::open(path)) == std::vector<Ids>{{1, 50256, 65535}});
  CHECK(TokenFile::open(path).bytes_per_token() == 2);
  test::write_text(path, llm_c(20240801, 7, 2, packed<std::uint32_t>({128000, 1})));
  CHECK(read_all(TokenFile::open(path)) == std::vector<Ids>{{128000, 1}});
  CHECK(TokenFile::open(path).tokens() == 2);

  const auto error = [&](const std::string& content) {
    test::write_text(path, content);
    return input_error([&] { TokenFile::open(path); });
  };
  const std::string two = packed<std::uint16_t>({1, 2});
  CHECK(contains(error(llm_c(20240520, 1, 3, two)), "not right"));
  CHECK(contains(error(llm_c(20240520, 1, 1, two)), "not right"));
  CHECK(contains(error(llm_c(20240520, 1, -2, two)), "not right"));
  CHECK(contains(error(llm_c(20240520, 2, 2, two)), "version 2"));
  CHECK(contains(error(llm_c(1, 1, 2, two)), ".idx"));
  CHECK(contains(error(""), ".idx"));
  CHECK(contains(input_error([&] { TokenFile::open(folder / "none.bin"); }), "none.bin"));
}

TEST_CASE("mutated token files never do more than fail", "[tokens]") {
  std::mt19937_64 random(9);
  for (int i = 0; i < 300; ++i) {
    const Pair pair(test::mutated(Index{}.bytes(), random), six_tokens);
    input_error([&] { read_all(TokenFile::open(pair.path("x"))); });
  }
}
