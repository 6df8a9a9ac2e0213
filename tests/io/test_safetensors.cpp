#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <random>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/safetensors.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

/// The bytes of a file with this header text and that many bytes of data 0, 1, 2, ...
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string content(sizeof length, '\0');
  std::memcpy(content.data(), &length, sizeof length);
  content += header;
  for (std::size_t i = 0; i < data_bytes; ++i) content += static_cast<char>(i);
  return content;
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   std::uint64_t begin, std::uint64_t end) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name, dtype, shape,
                     begin, end);
}

std::string error_of_content(const std::string& content) {
  const TemporaryFolder folder;
  write_text(folder / "x.safetensors", content);
  return input_error([&] { SafetensorsFile(folder / "x.safetensors"); });
}

std::string error_of(const std::string& header, std::size_t data_bytes) {
  return error_of_content(file_of(header, data_bytes));
}

std::vector<int> values(const TensorEntry& entry) {
  std::vector<int> out;
  for (const std::byte byte : entry.data) out.push_back(static_cast<int>(byte));
  return out;
}

std::string small_valid_file() {
  return file_of("{\"__metadata__\":{\"format\":\"pt\",\"a\":\"b\"}," + tensor("w", "F32", "2,3", 0, 24) +
                     "," + tensor("b", "BF16", "4", 24, 32) + "," + tensor("none", "I64", "0,7", 32, 32) +
                     "," + tensor("s", "U8", "", 32, 33) + "}  ",
                 33);
}

}  // namespace

TEST_CASE("a safetensors file is read") {
  const TemporaryFolder folder;
  write_text(folder / "x.safetensors", small_valid_file());
  SafetensorsFile opened(folder / "x.safetensors");
  const SafetensorsFile file = std::move(opened);

  REQUIRE(file.entries().size() == 4);
  std::vector<std::string> names;
  for (const TensorEntry& entry : file.entries()) names.push_back(entry.name);
  CHECK(names == std::vector<std::string>{"b", "none", "s", "w"});
  CHECK(file.metadata() == SafetensorsMetadata{{"a", "b"}, {"format", "pt"}});
  CHECK(file.find("missing") == nullptr);
  CHECK(file.find("z") == nullptr);

  const TensorEntry* w = file.find("w");
  REQUIRE(w != nullptr);
  CHECK(w->dtype == "F32");
  CHECK(w->shape == std::vector<std::int64_t>{2, 3});
  CHECK(w->data.size() == 24);
  CHECK(values(*file.find("b")) == std::vector<int>{24, 25, 26, 27, 28, 29, 30, 31});
  CHECK(file.find("s")->shape.empty());
  CHECK(values(*file.find("s")) == std::vector<int>{32});
  CHECK(file.find("none")->data.empty());
}

TEST_CASE("a safetensors file without tensors is legal") {
  CHECK(error_of("{}", 0).empty());
  CHECK(error_of(R"({"__metadata__":{}})", 0).empty());
  CHECK(error_of("{" + tensor("a", "F32", "0", 0, 0) + "," + tensor("b", "F32", "0", 0, 0) + "}", 0).empty());
}

TEST_CASE("every dtype of the format has its size") {
  for (const char* dtype :
       {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}) {
    CAPTURE(dtype);
    CHECK(error_of("{" + tensor("t", dtype, "3", 0, 3) + "}", 3).empty());
    CHECK(contains(error_of("{" + tensor("t", dtype, "3", 0, 4) + "}", 4), "4 bytes of data for"));
  }
  for (const char* dtype : {"I16", "U16", "F16", "BF16"}) {
    CHECK(error_of("{" + tensor("t", dtype, "3", 0, 6) + "}", 6).empty());
  }
  for (const char* dtype : {"I32", "U32", "F32"}) {
    CHECK(error_of("{" + tensor("t", dtype, "3", 0, 12) + "}", 12).empty());
  }
  for (const char* dtype : {"C64", "F64", "I64", "U64"}) {
    CHECK(error_of("{" + tensor("t", dtype, "3", 0, 24) + "}", 24).empty());
  }
  CHECK(error_of("{" + tensor("t", "F4", "2,3", 0, 3) + "}", 3).empty());
  CHECK(error_of("{" + tensor("t", "F6_E2M3", "4", 0, 3) + "}", 3).empty());
  CHECK(error_of("{" + tensor("t", "F6_E3M2", "4", 0, 3) + "}", 3).empty());
  CHECK(contains(error_of("{" + tensor("t", "F4", "3", 0, 2) + "}", 2), "bytes of data for F4 [3]"));
  CHECK(contains(error_of("{" + tensor("t", "F17", "3", 0, 2) + "}", 2), "unknown dtype 'F17'"));
}

TEST_CASE("hostile lengths are refused") {
  CHECK(contains(error_of_content(""), "only 0 bytes"));
  CHECK(contains(error_of_content("1234567"), "only 7 bytes"));
  for (const std::uint64_t length :
       {std::uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7, std::uint64_t{100'000'001}}) {
    std::string content = small_valid_file();
    std::memcpy(content.data(), &length, sizeof length);
    CHECK(contains(error_of_content(content), "over the limit"));
  }
  for (const std::uint64_t length : {std::uint64_t{100'000'000}, small_valid_file().size() - 7}) {
    std::string content = small_valid_file();
    std::memcpy(content.data(), &length, sizeof length);
    CHECK(contains(error_of_content(content), "ends after the file"));
  }
  CHECK(contains(error_of_content(std::string(8, '\0')), "does not start with '{'"));
  CHECK(contains(error_of_content("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS"));
}

TEST_CASE("the data must be filled from end to end") {
  const std::string a = tensor("a", "U8", "4", 0, 4);
  CHECK(error_of("{" + tensor("b", "U8", "4", 4, 8) + "," + a + "}", 8).empty());
  CHECK(contains(error_of("{" + a + "," + tensor("b", "U8", "4", 5, 9) + "}", 9), "'b' starts after a hole"));
  CHECK(contains(error_of("{" + a + "," + tensor("b", "U8", "4", 3, 7) + "}", 7), "'b' overlaps"));
  CHECK(contains(error_of("{" + a + "," + tensor("b", "U8", "4", 0, 4) + "}", 4), "overlaps"));
  CHECK(contains(error_of("{" + tensor("b", "U8", "4", 1, 5) + "}", 5), "starts after a hole"));
  CHECK(contains(error_of("{" + a + "," + tensor("b", "U8", "0", 2, 2) + "}", 4), "overlaps"));
  CHECK(contains(error_of("{" + a + "}", 5), "1 bytes after the last tensor"));
  CHECK(contains(error_of("{" + a + "}", 3), "outside the 3 bytes"));
  CHECK(contains(error_of("{" + tensor("b", "U8", "4", 4, 0) + "}", 4), "outside"));
  CHECK(contains(error_of("{" + tensor("b", "U8", "4", 0, UINT64_MAX) + "}", 4), "outside"));
}

TEST_CASE("shapes that overflow are refused") {
  for (const char* shape : {"4611686018427387904,4", "4,4611686018427387904", "9223372036854775807",
                            "9223372036854775807,2", "4294967296,4294967296", "2305843009213693952,8,0"}) {
    CAPTURE(shape);
    CHECK(contains(error_of("{" + tensor("t", "F32", shape, 0, 0) + "}", 0), "bytes of data for"));
  }
  CHECK(
      contains(error_of("{" + tensor("t", "F32", "9223372036854775808", 0, 0) + "}", 0), "impossible shape"));
  CHECK(contains(error_of("{" + tensor("t", "F32", "18446744073709551616", 0, 0) + "}", 0), "a fraction"));
  CHECK(contains(error_of("{" + tensor("t", "F32", "-1", 0, 0) + "}", 0), "a negative number"));
  CHECK(contains(error_of("{" + tensor("t", "F32", "1.0", 0, 4) + "}", 4), "a fraction"));
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  CHECK(contains(error_of("{" + tensor("t", "U8", many, 0, 1) + "}", 1), "impossible shape"));
}

TEST_CASE("headers of another form are refused") {
  const std::string a = tensor("a", "U8", "4", 0, 4);
  const auto entry = [](const std::string& members) { return "{\"a\":{" + members + "}}"; };
  CHECK(contains(error_of("[]", 0), "does not start with '{'"));
  CHECK(contains(error_of(" {" + a + "}", 4), "does not start with '{'"));
  CHECK(contains(error_of("{" + a, 4), "not JSON"));
  CHECK(contains(error_of("{" + a + "}x", 4), "not JSON"));
  CHECK(contains(error_of("{\"\xff\":{}}", 4), "not JSON"));
  CHECK(contains(error_of("{" + a + "}" + std::string(1, '\0'), 4), "zero byte"));
  CHECK(contains(error_of("{" + a + "," + a + "}", 4), "overlaps"));
  const std::string empty = tensor("a", "U8", "0", 0, 0);
  CHECK(contains(error_of("{" + empty + "," + empty + "}", 0), "duplicate tensor 'a'"));
  CHECK(contains(error_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "duplicate key '__metadata__'"));
  CHECK(contains(error_of(R"({"__metadata__":{"k":"1","k":"1"}})", 0), "duplicate metadata key 'k'"));
  CHECK(contains(error_of(R"({"__metadata__":{"k":1}})", 0), "a number where none belongs"));
  CHECK(contains(error_of(R"({"__metadata__":{"k":{}}})", 0), "an object where none belongs"));
  CHECK(contains(error_of(R"({"__metadata__":[]})", 0), "an array where none belongs"));
  CHECK(contains(error_of(R"({"__metadata__":null})", 0), "null where none belongs"));
  CHECK(contains(error_of(R"({"a":3})", 0), "a number where none belongs"));
  CHECK(contains(error_of(R"({"a":[]})", 0), "an array where none belongs"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","shape":[4])"), 4), "missing dtype, shape or data_offsets"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","data_offsets":[0,4])"), 4), "missing"));
  CHECK(contains(error_of(entry(R"("shape":[4],"data_offsets":[0,4])"), 4), "missing"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0])"), 4), "missing"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,4,4])"), 4), "a number"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4])"), 4),
                 "duplicate key 'dtype' in the header of tensor 'a'"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"more":1)"), 4),
                 "unknown key 'more'"));
  CHECK(contains(error_of(entry(R"("dtype":["U8"],"shape":[4],"data_offsets":[0,4])"), 4), "an array"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","shape":"4","data_offsets":[0,4])"), 4), "a string"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","shape":[[4]],"data_offsets":[0,4])"), 4), "an array"));
  CHECK(contains(error_of(entry(R"("dtype":"U8","shape":4,"data_offsets":[0,4])"), 4), "a number"));
  CHECK(contains(error_of("{\"a\":" + std::string(100'000, '['), 0), "an array"));
}

TEST_CASE("files that are none are refused") {
  const TemporaryFolder folder;
  CHECK(contains(input_error([&] { SafetensorsFile(folder / "missing"); }), "cannot open"));
  CHECK_FALSE(input_error([&] { SafetensorsFile file(folder.path()); }).empty());
}

TEST_CASE("a damaged safetensors file never does harm") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  std::mt19937_64 random(1);
  int accepted = 0;
  for (int round = 0; round < 8000; ++round) {
    std::string content = mutated(small_valid_file(), random);
    if (round % 2 == 0 && content.size() > 50) {  // get past the length, into the header
      const std::uint64_t length = content.size() - 8 - 33;
      std::memcpy(content.data(), &length, sizeof length);
    }
    write_text(path, content);
    try {
      const SafetensorsFile file(path);
      std::ptrdiff_t zeros = 0;  // reads every byte
      for (const TensorEntry& entry : file.entries()) zeros += std::ranges::count(entry.data, std::byte{0});
      REQUIRE(zeros < static_cast<std::ptrdiff_t>(content.size()));
      ++accepted;
    } catch (const InputError&) {
    } catch (const ResourceError&) {
    }
  }
  CHECK(accepted > 100);
  CHECK(accepted < 4000);
}

TEST_CASE("what is written is read back") {
  const TemporaryFolder folder;
  const auto path = folder / "y.safetensors";
  std::vector<std::byte> bytes(64);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  const std::span<const std::byte> all(bytes);
  const std::vector<TensorEntry> tensors = {
      {"narrow", "U8", {5}, all.subspan(0, 5)},
      {"half \"b\"\n", "F16", {2, 3}, all.subspan(5, 12)},
      {"a", "F32", {}, all.subspan(17, 4)},
      {"empty", "F32", {0}, {}},
      {"wide \xc3\xa9", "I64", {3}, all.subspan(21, 24)},
      {"brain", "BF16", {1}, all.subspan(45, 2)},
  };
  const SafetensorsMetadata metadata = {{"format", "pt"}, {"quote", "\"\\"}};
  write_safetensors(path, tensors, metadata);

  CHECK_FALSE(std::filesystem::exists(part_path(path)));
  const SafetensorsFile file(path);
  CHECK(file.metadata() == metadata);
  REQUIRE(file.entries().size() == tensors.size());
  for (const TensorEntry& tensor : tensors) {
    const TensorEntry* found = file.find(tensor.name);
    REQUIRE(found != nullptr);
    CHECK(found->dtype == tensor.dtype);
    CHECK(found->shape == tensor.shape);
    CHECK(std::ranges::equal(found->data, tensor.data));
    const auto address = reinterpret_cast<std::uintptr_t>(found->data.data());
    if (tensor.dtype != "U8") CHECK(address % 2 == 0);
    if (tensor.dtype == "F32") CHECK(address % 4 == 0);
    if (tensor.dtype == "I64") CHECK(address % 8 == 0);
  }
  write_safetensors(path, {}, {});
  CHECK(SafetensorsFile(path).entries().empty());
}

TEST_CASE("files are written byte for byte as the reference writer does") {
  for (const char* name : {"models/llama3_tiny/model.safetensors", "models/qwen2_tiny/model.safetensors",
                           "forward/llama2_tiny.safetensors"}) {
    CAPTURE(name);
    const TemporaryFolder folder;
    const SafetensorsFile file(data_file(name));
    write_safetensors(folder / "copy", file.entries(), file.metadata());
    CHECK(read_file(folder / "copy") == read_file(data_file(name)));
  }
}

TEST_CASE("tensors that make no valid file are not written") {
  const TemporaryFolder folder;
  const auto path = folder / "z.safetensors";
  const std::vector<std::byte> bytes(8);
  const auto write = [&](std::vector<TensorEntry> tensors) { write_safetensors(path, tensors); };
  CHECK_THROWS_AS(write({{"a", "F32", {3}, bytes}}), FailureError);
  CHECK_THROWS_AS(write({{"a", "F33", {2}, bytes}}), FailureError);
  CHECK_THROWS_AS(write({{"a", "F32", {-2}, bytes}}), FailureError);
  CHECK_THROWS_AS(write({{"a\xff", "F32", {2}, bytes}}), FailureError);
  CHECK_THROWS_AS(write({{"__metadata__", "F32", {2}, bytes}}), FailureError);
  CHECK_THROWS_AS(write({{"a", "F32", {2}, bytes}, {"a", "U8", {8}, bytes}}), FailureError);
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK_THROWS_AS(write_safetensors(folder / "no" / "z.safetensors", {}), ResourceError);
}
