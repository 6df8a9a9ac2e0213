#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/checkpoint.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

TensorEntry as_entry(const std::string& name, const std::string& dtype, std::vector<std::int64_t> shape,
                     std::span<const std::byte> data) {
  return {name, dtype, std::move(shape), data};
}

std::vector<std::byte> stored(DType type, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * size_of(type));
  convert_from_float(values, type, bytes.data());
  return bytes;
}

std::vector<float> widened(DType type, std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / size_of(type));
  convert_to_float(type, bytes.data(), values);
  return values;
}

std::vector<float> rows(const Checkpoint& checkpoint, const std::string& name, const Checkpoint::Shape& shape,
                        std::int64_t first, std::int64_t last, DType type) {
  std::vector<std::byte> out(static_cast<std::size_t>((last - first) * shape[1]) * size_of(type));
  checkpoint.read_rows(name, shape, first, last, type, out);
  const auto there = checkpoint.rows_in_file(name, shape, first, last, type);
  CHECK(there.has_value() == (checkpoint.dtype_of(name) == type));
  if (there) CHECK(std::ranges::equal(*there, out));
  return widened(type, out);
}

std::vector<float> columns(const Checkpoint& checkpoint, const std::string& name,
                           const Checkpoint::Shape& shape, std::int64_t first, std::int64_t last,
                           DType type) {
  std::vector<std::byte> out(static_cast<std::size_t>((last - first) * shape[0]) * size_of(type));
  checkpoint.read_columns(name, shape, first, last, type, out);
  return widened(type, out);
}

void write_one(const std::filesystem::path& path, const std::string& name) {
  const std::vector<std::byte> bytes = stored(DType::f32, {1, 2, 3, 4});
  write_safetensors(path, std::vector{as_entry(name, "F32", {2, 2}, bytes)});
}

/// A folder with tensors a and b in two shards and this weight_map.
void write_shards(const TemporaryFolder& folder, const std::string& weight_map) {
  write_one(folder / "one.safetensors", "a");
  write_one(folder / "two.safetensors", "b");
  write_text(folder / "model.safetensors.index.json", R"({"metadata":{},"weight_map":)" + weight_map + "}");
}

std::string error_of_map(const std::string& weight_map) {
  const TemporaryFolder folder;
  write_shards(folder, weight_map);
  return input_error([&] { Checkpoint(folder.path()); });
}

}  // namespace

TEST_CASE("a checkpoint in one file") {
  const Checkpoint checkpoint(data_file("models/llama3_tiny"));
  CHECK(checkpoint.names().size() == 3 + 4 * 9);
  CHECK(checkpoint.has("lm_head.weight"));
  CHECK_FALSE(checkpoint.has("lm_head.bias"));
  CHECK(checkpoint.dtype() == DType::bf16);
  CHECK(checkpoint.entry("model.layers.0.self_attn.q_proj.weight").shape == Checkpoint::Shape{128, 64});
  CHECK(checkpoint.read_float("model.norm.weight", {64}).size() == 64);
  const auto names = checkpoint.names();
  CHECK(std::ranges::is_sorted(names));
  std::uint64_t bytes = 0;
  for (const std::string& name : names) bytes += checkpoint.entry(name).data.size();
  CHECK(checkpoint.total_bytes() == bytes);
}

TEST_CASE("a checkpoint in shards, with and without an index") {
  const auto source = data_file("models/llama2_tiny");
  const Checkpoint checkpoint(source);
  const Json index = read_json(source / "model.safetensors.index.json");
  CHECK(checkpoint.names().size() == index["weight_map"].size());
  CHECK(checkpoint.total_bytes() == index["metadata"]["total_size"].get<std::uint64_t>());
  CHECK(checkpoint.dtype() == DType::f16);

  const TemporaryFolder folder;
  for (const auto& file : std::filesystem::directory_iterator(source)) {
    if (file.path().extension() == ".safetensors") {
      std::filesystem::copy(file.path(), folder / file.path().filename().string());
    }
  }
  const Checkpoint unindexed(folder.path());
  CHECK(unindexed.names() == checkpoint.names());
  CHECK(unindexed.fingerprint() == checkpoint.fingerprint());
}

TEST_CASE("model.safetensors goes before other files of the folder") {
  const TemporaryFolder folder;
  write_one(folder / "model.safetensors", "a");
  write_one(folder / "consolidated.safetensors", "b");
  CHECK(Checkpoint(folder.path()).names() == std::vector<std::string>{"a"});
}

TEST_CASE("incomplete and misleading checkpoints are refused") {
  CHECK(error_of_map(R"({"a":"one.safetensors","b":"two.safetensors"})").empty());
  CHECK(contains(error_of_map(R"({"a":"one.safetensors","b":"three.safetensors"})"), "is missing"));
  CHECK(contains(error_of_map("{}"), "no *.safetensors files"));
  for (const char* target :
       {R"("../one.safetensors")", R"("/etc/passwd")", R"("sub/one.safetensors")", R"("..")", R"(".")",
        R"("")", "3", "null", R"(["one.safetensors"])", R"("one\u0000")"}) {
    CAPTURE(target);
    CHECK(contains(error_of_map(std::string(R"({"a":)") + target + "}"), "outside the folder or nowhere"));
  }
  CHECK(contains(error_of_map("[]"), "weight_map"));
  CHECK(error_of_map(R"({"a":"one.safetensors","a":"one.safetensors"})").empty());
  CHECK(contains(error_of_map(R"({"a":"model.safetensors.index.json"})"), "not a valid safetensors file"));

  const TemporaryFolder folder;
  CHECK(contains(input_error([&] { Checkpoint(folder.path()); }), "no *.safetensors files"));
  CHECK(contains(input_error([&] { Checkpoint(folder / "none"); }), "no such folder"));
  write_one(folder / "one.safetensors", "a");
  write_one(folder / "two.safetensors", "a");
  CHECK(contains(input_error([&] { Checkpoint(folder.path()); }), "'a' is in two files"));
  write_text(folder / "model.safetensors.index.json",
             R"({"weight_map":{"a":"one.safetensors","a ":"two.safetensors"}})");
  CHECK(contains(input_error([&] { Checkpoint(folder.path()); }), "'a' is in two files"));
  std::filesystem::create_directory(folder / "model.safetensors");
  CHECK_FALSE(input_error([&] { Checkpoint(folder.path()); }).empty());
}

TEST_CASE("an index may list tensors that are elsewhere or nowhere") {
  CHECK(error_of_map(R"({"a":"two.safetensors","b":"one.safetensors"})").empty());
  const TemporaryFolder folder;
  write_one(folder / "one.safetensors", "a");
  write_one(folder / "two.safetensors", "b");
  write_text(folder / "model.safetensors.index.json",
             R"({"weight_map":{"a":"two.safetensors","inv_freq":"one.safetensors"}})");
  const Checkpoint checkpoint(folder.path());
  CHECK(checkpoint.names() == std::vector<std::string>{"a", "b"});
  CHECK(checkpoint.stored() == 2);
  CHECK_FALSE(checkpoint.has("inv_freq"));
  const std::string error = input_error([&] { checkpoint.entry("inv_freq"); });
  CHECK(contains(error, "no tensor 'inv_freq', which the index places there"));
  CHECK(contains(error, "one.safetensors"));
}

TEST_CASE("a damaged index never does harm") {
  const TemporaryFolder folder;
  write_shards(folder, "{}");
  const std::string valid = R"({"metadata":{"total_size":32},"weight_map":{"a":"one.safetensors",)"
                            R"("b":"two.safetensors"}})";
  std::mt19937_64 random(2);
  for (int round = 0; round < 2000; ++round) {
    write_text(folder / "model.safetensors.index.json", mutated(valid, random));
    try {
      Checkpoint(folder.path()).fingerprint();
    } catch (const InputError&) {
    } catch (const ResourceError&) {
    }
  }
}

TEST_CASE("tensors are asked for by name, shape and type") {
  const TemporaryFolder folder;
  const auto floats = stored(DType::f32, {1, 2, 3, 4, 5, 6});
  const std::vector<std::byte> bytes(8);
  write_safetensors(folder / "model.safetensors",
                    std::vector{as_entry("w", "F32", {2, 3}, floats), as_entry("q", "I8", {2, 4}, bytes),
                                as_entry("d", "F64", {1}, bytes)});
  const Checkpoint checkpoint(folder.path());
  CHECK(checkpoint.read_float("w", {2, 3}) == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(contains(input_error([&] { checkpoint.read_float("w", {3, 2}); }), "expected [3, 2], found [2, 3]"));
  CHECK(contains(input_error([&] { checkpoint.read_float("w", {6}); }), "expected [6], found [2, 3]"));
  CHECK(contains(input_error([&] { rows(checkpoint, "w", {2, 4}, 0, 1, DType::f32); }), "expected [2, 4]"));
  CHECK(contains(input_error([&] { checkpoint.read_float("v", {3, 2}); }), "no tensor 'v'"));
  CHECK(contains(input_error([&] { checkpoint.read_float("q", {2, 4}); }), "'q' is stored as I8"));
  CHECK(contains(input_error([&] { checkpoint.read_float("d", {1}); }), "'d' is stored as F64"));
  CHECK(contains(input_error([&] { rows(checkpoint, "q", {2, 4}, 0, 1, DType::f32); }), "stored as I8"));
  CHECK(checkpoint.dtype_of("w") == DType::f32);
  CHECK(checkpoint.dtype() == DType::f32);

  std::vector<std::byte> out(12);
  CHECK_THROWS_AS(checkpoint.read_rows("w", {2, 3}, 1, 3, DType::f32, out), FailureError);
  CHECK_THROWS_AS(checkpoint.read_rows("w", {2, 3}, -1, 0, DType::f32, out), FailureError);
  CHECK_THROWS_AS(checkpoint.read_rows("w", {2, 3}, 2, 1, DType::f32, out), FailureError);
  CHECK_THROWS_AS(checkpoint.rows_in_file("w", {2, 3}, 1, 3, DType::f32), FailureError);
  CHECK_THROWS_AS(checkpoint.read_columns("w", {2, 3}, 2, 4, DType::f32, out), FailureError);
  CHECK_THROWS_AS(checkpoint.read_columns("w", {2, 3}, -1, 1, DType::f32, out), FailureError);
  CHECK_THROWS_AS(checkpoint.read_columns("w", {2, 3}, 0, 1, DType::f32, out), FailureError);
  CHECK_THROWS_AS(checkpoint.read_rows("w", {2, 3}, 0, 2, DType::f32, out), FailureError);
  CHECK(rows(checkpoint, "w", {2, 3}, 1, 1, DType::f32).empty());
}

TEST_CASE("row and column ranges are copied or converted, whatever their alignment") {
  // One byte in front leaves everything behind it unaligned, as old files do.
  std::string header = R"({"byte":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("w":{"dtype":"F32","shape":[3,2],"data_offsets":[1,25]},)"
                       R"("h":{"dtype":"F16","shape":[3,2],"data_offsets":[25,37]},)"
                       R"("b":{"dtype":"BF16","shape":[3,2],"data_offsets":[37,49]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = header.size();
  std::string content(reinterpret_cast<const char*>(&length), sizeof length);
  content += header + 'x';
  const std::vector<float> values = {1, -2.5f, 3, 0.25f, -0.0f, 1024};
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    const auto bytes = stored(type, values);
    content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  const TemporaryFolder folder;
  write_text(folder / "model.safetensors", content);

  const Checkpoint checkpoint(folder.path());
  for (const char* name : {"w", "h", "b"}) {
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      CHECK(rows(checkpoint, name, {3, 2}, 0, 3, type) == values);
      CHECK(rows(checkpoint, name, {3, 2}, 1, 2, type) == std::vector<float>{3, 0.25f});
      CHECK(rows(checkpoint, name, {3, 2}, 2, 3, type) == std::vector<float>{0, 1024});
      CHECK(columns(checkpoint, name, {3, 2}, 0, 2, type) == values);
      CHECK(columns(checkpoint, name, {3, 2}, 0, 1, type) == std::vector<float>{1, 3, 0});
      CHECK(columns(checkpoint, name, {3, 2}, 1, 2, type) == std::vector<float>{-2.5f, 0.25f, 1024});
      CHECK(columns(checkpoint, name, {3, 2}, 2, 2, type).empty());
    }
    CHECK(checkpoint.read_float(name, {3, 2}) == values);
  }
}

TEST_CASE("long rows are converted in pieces and rounded") {
  const TemporaryFolder folder;
  std::vector<float> values(3 * 5000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.001f * static_cast<float>(i) - 7;
  const auto bytes = stored(DType::f32, values);
  write_safetensors(folder / "model.safetensors", std::vector{as_entry("w", "F32", {3, 5000}, bytes)});
  const Checkpoint checkpoint(folder.path());
  for (const DType type : {DType::f16, DType::bf16}) {
    const auto expected = widened(type, stored(type, {values.begin() + 5000, values.end()}));
    CHECK(rows(checkpoint, "w", {3, 5000}, 1, 3, type) == expected);
  }
}

TEST_CASE("values that do not fit fp16 are refused, infinities are not") {
  const TemporaryFolder folder;
  const float infinity = std::numeric_limits<float>::infinity();
  const auto large = stored(DType::bf16, {1, 70000});
  const auto endless = stored(DType::bf16, {-infinity, 1});
  const auto edge = stored(DType::f32, {65504, -65519.9f});
  write_safetensors(folder / "model.safetensors", std::vector{as_entry("large", "BF16", {1, 2}, large),
                                                              as_entry("edge", "F32", {1, 2}, edge),
                                                              as_entry("endless", "BF16", {1, 2}, endless)});
  const Checkpoint checkpoint(folder.path());
  CHECK(contains(input_error([&] {
                   rows(checkpoint, "large", {1, 2}, 0, 1, DType::f16);
                 }),
                 "'large' holds values too large for fp16"));
  CHECK(rows(checkpoint, "large", {1, 2}, 0, 1, DType::f32)[1] == Approx(70000).epsilon(0.01));
  CHECK(rows(checkpoint, "endless", {1, 2}, 0, 1, DType::f16) == std::vector<float>{-infinity, 1});
  CHECK(rows(checkpoint, "edge", {1, 2}, 0, 1, DType::f16) == std::vector<float>{65504, -65504});
}

TEST_CASE("the type of a checkpoint is that of most of its 2-D weights") {
  const TemporaryFolder folder;
  const std::vector<std::byte> bytes(64);
  const std::span<const std::byte> data(bytes);
  write_safetensors(
      folder / "model.safetensors",
      std::vector{as_entry("a", "BF16", {4, 4}, data.first(32)), as_entry("b", "F32", {2, 2}, data.first(16)),
                  as_entry("c", "F32", {16}, data), as_entry("d", "I8", {8, 8}, data)});
  CHECK(Checkpoint(folder.path()).dtype() == DType::bf16);
  write_safetensors(folder / "model.safetensors", std::vector{as_entry("d", "I8", {8, 8}, data)});
  CHECK(contains(input_error([&] { Checkpoint(folder.path()).dtype(); }), "no weights in F32, F16 or BF16"));
}

TEST_CASE("the fingerprint tells checkpoints apart") {
  const TemporaryFolder folder;
  std::vector<std::byte> bytes(100 * 4096 + 10);
  const auto size = static_cast<std::int64_t>(bytes.size());
  const auto fingerprint = [&](const std::string& name, const std::string& dtype,
                               std::vector<std::int64_t> shape) {
    write_safetensors(folder / "model.safetensors",
                      std::vector{as_entry(name, dtype, std::move(shape), bytes)});
    return Checkpoint(folder.path()).fingerprint();
  };
  const std::uint64_t original = fingerprint("a", "U8", {size});
  CHECK(fingerprint("a", "U8", {size}) == original);
  CHECK(fingerprint("b", "U8", {size}) != original);
  CHECK(fingerprint("a", "I8", {size}) != original);
  CHECK(fingerprint("a", "U8", {1, size}) != original);
  for (const std::size_t sampled : {std::size_t{0}, std::size_t{4095}, bytes.size() - 1}) {
    bytes[sampled] ^= std::byte{1};
    CHECK(fingerprint("a", "U8", {size}) != original);
    bytes[sampled] ^= std::byte{1};
  }
  bytes[4096] ^= std::byte{1};  // between two samples
  CHECK(fingerprint("a", "U8", {size}) == original);
}
