#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <bit>
#include <limits>

#include <galapagos/core/file.hpp>
#include <galapagos/io/safetensors.hpp>
#include <galapagos/io/torch_file.hpp>

using namespace galapagos;
using test::contains;
using test::data_file;
using test::input_error;
using test::TemporaryFolder;

namespace {

TorchFile golden(const std::string& name) {
  return TorchFile(data_file("torch/" + name + ".pth"));
}

/// What torch and safetensors say is there.
void check_same(const TorchTensor& tensor, const std::string& name) {
  static const SafetensorsFile expected(data_file("torch/expected.safetensors"));
  INFO(name);
  const TensorEntry* entry = expected.find(name);
  REQUIRE(entry != nullptr);
  CHECK(tensor.dtype == entry->dtype);
  CHECK(tensor.shape == entry->shape);
  std::vector<std::byte> storage;
  CHECK(std::ranges::equal(tensor.contiguous(storage), entry->data));
}

template <typename T>
T get(const TorchValue& value, std::string_view key) {
  const TorchValue* found = value.find(key);
  REQUIRE(found != nullptr);
  return std::get<T>(found->value);
}

std::vector<std::byte> some_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 3);
  return bytes;
}

TorchTensor tensor_of(const std::string& dtype, std::vector<std::int64_t> shape,
                      std::span<const std::byte> data) {
  TorchTensor tensor{dtype, std::move(shape), {}, data};
  tensor.strides = row_major_strides(tensor.shape);
  return tensor;
}

}  // namespace

TEST_CASE("tensors that torch has saved") {
  for (const char* name : {"f32", "f16", "bf16", "f64", "i64", "i32", "i16", "i8", "u8", "bool", "transposed",
                           "permuted", "sliced", "column", "scalar", "empty", "one_row"})
    check_same(golden(name).tensor(), name);
}

TEST_CASE("tensors that share a storage") {
  const TorchFile file = golden("shared");
  for (const char* name : {"all", "part", "last"})
    check_same(get<TorchTensor>(file.value(), name), std::string("shared.") + name);
  CHECK(contains(input_error([&] { file.tensor(); }), "it holds something else than one tensor"));
}

TEST_CASE("plain things that torch has saved") {
  const TorchFile file = golden("plain");
  const TorchValue& value = file.value();
  CHECK(std::holds_alternative<std::monostate>(value.find("none")->value));
  CHECK(get<bool>(value, "yes"));
  CHECK_FALSE(get<bool>(value, "no"));
  CHECK(get<std::int64_t>(value, "big") == std::int64_t{1} << 40);
  CHECK(get<std::int64_t>(value, "minus") == -3);
  CHECK(get<std::int64_t>(value, "least") == std::numeric_limits<std::int64_t>::min());
  CHECK(get<double>(value, "half") == 0.5);
  CHECK(get<std::string>(value, "text") == "\u00fc");
  const auto pair = get<TorchValue::List>(value, "pair");
  REQUIRE(pair.size() == 2);
  CHECK(std::get<TorchValue::List>(pair[1].value).size() == 2);
  CHECK(std::get<std::int64_t>(value.find("ordered")->find("a")->value) == 1);
  CHECK(value.find("other") == nullptr);
  CHECK(value.find("pair")->find("a") == nullptr);

  const auto removed = get<TorchValue::List>(golden("metadata").value(), "cols_removed_attn");
  REQUIRE(removed.size() == 4);
  CHECK(std::get<std::int64_t>(removed[2].value) == 70000);
}

TEST_CASE("what torch can save and is refused, by its name") {
  const auto error_of = [](const std::string& name) { return input_error([&] { golden(name); }); };
  CHECK(contains(error_of("legacy"), "torch.save before 1.6"));
  CHECK(contains(error_of("parameter"), "torch._utils._rebuild_parameter, which is not run"));
  CHECK(contains(error_of("function"), "it asks for pickle.loads, which is not run"));
  CHECK(contains(error_of("expanded"), "goes beyond its storage, or repeats parts of it"));
  CHECK(contains(error_of("protocol4"), "a pickle of protocol 4, not 2"));
  CHECK(contains(error_of("keys"), "keys that are no texts"));
  CHECK(contains(error_of("unsigned"), "torch._utils._rebuild_tensor_v3, which is not run"));
  CHECK(contains(error_of("sparse"), "torch._utils._rebuild_sparse_tensor, which is not run"));
  CHECK(contains(input_error([] { TorchFile(data_file("torch/expected.safetensors")); }),
                 "not a file of torch.save"));
}

TEST_CASE("what is written is read again") {
  const TemporaryFolder folder;
  const auto bytes = some_bytes(48);
  const TorchValue::Dict dict = {
      {"w", {tensor_of("BF16", {4, 6}, bytes)}},
      {"none", {}},
      {"yes", {true}},
      {"counts", {TorchValue::List{{std::int64_t{0}}, {std::int64_t{1} << 40}, {std::int64_t{-5}}}}},
      {"half", {0.5}},
      {"text", {std::string("\u00fc")}},
      {"again", {tensor_of("F64", {6}, bytes)}},
      {"nothing", {tensor_of("F32", {0, 3}, {})}},
  };
  write_torch_file(folder / "x.pth", {dict});
  CHECK_FALSE(std::filesystem::exists(part_path(folder / "x.pth")));
  const TorchFile file(folder / "x.pth");
  for (const char* name : {"w", "again"}) {
    const auto tensor = get<TorchTensor>(file.value(), name);
    std::vector<std::byte> storage;
    CHECK(std::ranges::equal(tensor.contiguous(storage), bytes));
    CHECK(std::bit_cast<std::uintptr_t>(tensor.data.data()) % 64 == 0);  // as where torch maps a file
  }
  CHECK(get<TorchTensor>(file.value(), "w").shape == std::vector<std::int64_t>{4, 6});
  CHECK(get<TorchTensor>(file.value(), "nothing").elements() == 0);
  const auto counts = get<TorchValue::List>(file.value(), "counts");
  CHECK(std::get<std::int64_t>(counts[1].value) == std::int64_t{1} << 40);
  CHECK(std::get<std::int64_t>(counts[2].value) == -5);
  CHECK(get<double>(file.value(), "half") == 0.5);
  CHECK(get<bool>(file.value(), "yes"));
}
