#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/small_run.hpp"

#include <cmath>
#include <cstring>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/io/torch_file.hpp>
#include <galapagos/pruning/darwinlm.hpp>

using namespace galapagos;

namespace fs = std::filesystem;

namespace {

/// A model, and its database as ours and as DarwinLM's.
struct Exported {
  const Communicator& world;
  fs::path model, ours, theirs;
  Checkpoint checkpoint{model};
  HfConfig config = read_hf_config(model);

  /// Collective: makes both.
  void make(AttentionUnit unit = AttentionUnit::head) const {
    DatabaseOptions options = test::small_database("", ours);
    options.model = model;
    options.attention_unit = unit;
    build_database(world, ops::Context(), options);
    export_darwinlm(world, checkpoint, DatabaseReader(ours), theirs);
  }
  /// On every rank: the exit code of importing it, 0 where it goes well.
  int code_of_import(const fs::path& output) const {
    try {
      import_darwinlm(world, checkpoint, config, hex64(checkpoint.fingerprint()), theirs, output);
      return 0;
    } catch (const Error& error) {
      return error.agreed() ? static_cast<int>(error.code()) : -1;
    }
  }
};

/// Whether two databases have the same structures removed at each level and the same weights, bit for bit.
bool same_levels(const fs::path& first, const fs::path& second) {
  const DatabaseReader a(first), b(second);
  bool same = a.header().levels == b.header().levels && a.header().dtype == b.header().dtype && b.complete();
  for (const ModuleId& module : a.header().modules()) {
    for (std::int64_t level = 0; same && level < std::ssize(a.header().removed(module)); ++level) {
      same = a.kept(module, level) == b.kept(module, level);
      if (same && level > 0) same = a.level_bytes(module, level, true) == b.level_bytes(module, level, true);
    }
    if (same) b.verify(module);
  }
  return same;
}

/// On the root alone: a copy of a model in fp32.
void widen(const fs::path& model, const fs::path& wide) {
  const Checkpoint narrow(model);
  std::vector<std::vector<float>> values;
  std::vector<TensorEntry> entries;
  for (const std::string& name : narrow.names()) {
    const auto& shape = narrow.entry(name).shape;
    values.push_back(narrow.read_float(name, shape));
    for (float& value : values.back()) value *= 1.0001F;  // no longer those of 16 bits
    entries.push_back({name, "F32", shape, std::as_bytes(std::span(values.back()))});
  }
  fs::create_directories(wide);
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json"})
    if (fs::exists(model / file)) fs::copy_file(model / file, wide / file);
  write_safetensors(wide / "model.safetensors", entries);
}

const fs::path first_module = "model.layers.0.mlp.down_proj";

/// Changes the weight of a level, on the root alone.
void change(const fs::path& path, const std::function<void(std::vector<std::byte>&, TorchTensor&)>& how) {
  TorchTensor tensor;
  std::vector<std::byte> storage, bytes;
  {
    const TorchFile file(path);
    tensor = file.tensor();
    const auto found = tensor.contiguous(storage);
    bytes.assign(found.begin(), found.end());
  }
  how(bytes, tensor);
  tensor.data = bytes;
  write_torch_file(path, {tensor});
}

}  // namespace

TEST_CASE("a database goes to DarwinLM's files and back", "[darwinlm]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "wide"}) {  // bf16, fp16, fp32
    CAPTURE(name);
    const test::SharedFolder folder(world);
    fs::path model = test::data_file(std::string("models/") + name);
    if (std::string(name) == "wide") {
      if (world.is_root()) widen(test::data_file("models/llama3_tiny"), folder / "wide");
      world.barrier();
      model = folder / "wide";
    }
    const Exported exported{world, model, folder / "x.h5", folder / "theirs"};
    exported.make();
    CHECK(exported.code_of_import(folder / "y.h5") == 0);
    CHECK(same_levels(folder / "x.h5", folder / "y.h5"));
    CHECK_FALSE(fs::exists(part_path(folder / "y.h5")));
    const DatabaseReader imported(folder / "y.h5");
    const DatabaseHeader& header = imported.header();
    CHECK(header.imported_from == "DarwinLM");
    CHECK(header.calibration_fingerprint.starts_with("unknown"));
    CHECK(std::isnan(imported.loss({0, ModuleKind::ffn}).front()));
    CHECK(imported.end_loss({0, ModuleKind::ffn}).empty());
  }
}

TEST_CASE("the exported files are those of DarwinLM", "[darwinlm]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Exported exported{world, test::data_file("models/llama3_tiny"), folder / "x.h5", folder / "theirs"};
  exported.make(AttentionUnit::group);
  const DatabaseReader database(folder / "x.h5");
  const DatabaseHeader& header = database.header();
  const TorchFile metadata(exported.theirs / "metadata.pth");
  for (const auto& [kind, key] : {std::pair(ModuleKind::attention, "cols_removed_attn"),
                                  std::pair(ModuleKind::ffn, "cols_removed_mlp")}) {
    const auto& list = std::get<TorchValue::List>(metadata.value().find(key)->value);
    CHECK(list.size() == header.removed({0, kind}).size());
    for (std::size_t level = 0; level < list.size(); ++level) {
      CHECK(std::get<std::int64_t>(list[level].value) ==
            header.layout({0, kind}).columns -
                header.kept_columns({0, kind}, static_cast<std::int64_t>(level)));
    }
  }
  for (const ModuleId& module : header.modules()) {
    const std::int64_t columns = header.layout(module).columns, hidden = header.config.hidden_size;
    for (std::int64_t level = 0; level < std::ssize(header.removed(module)); ++level) {
      const TorchFile file(exported.theirs / name_of(module) / (std::to_string(level) + ".pth"));
      const TorchTensor& tensor = file.tensor();
      CHECK(tensor.shape == std::vector<std::int64_t>{hidden, columns});
      // Word by word: column c of row h is row c of the compact weight, or zero.
      std::vector<std::uint16_t> expected(static_cast<std::size_t>(hidden * columns), 0),
          found(expected.size());
      if (level == 0) {
        exported.checkpoint.read_rows(name_of(module) + ".weight", {hidden, columns}, 0, hidden, DType::bf16,
                                      std::as_writable_bytes(std::span(expected)));
      } else {
        const auto kept = database.kept(module, level);
        const auto words = database.level_bytes(module, level);
        for (std::size_t c = 0; c < kept.size(); ++c) {
          for (std::int64_t h = 0; h < hidden; ++h) {
            std::memcpy(
                &expected[static_cast<std::size_t>(h * columns + kept[c])],
                words.data() + (c * static_cast<std::size_t>(hidden) + static_cast<std::size_t>(h)) * 2, 2);
          }
        }
      }
      CHECK(tensor.data.size() == 2 * found.size());
      std::memcpy(found.data(), tensor.data.data(), std::min(tensor.data.size(), 2 * found.size()));
      CHECK(found == expected);
    }
  }
  // Heads of groups come back as heads.
  CHECK(exported.code_of_import(folder / "y.h5") == 0);
  const DatabaseReader again(folder / "y.h5");
  for (const ModuleId& module : header.modules()) {
    for (std::int64_t level = 0; level < std::ssize(header.removed(module)); ++level)
      CHECK(again.kept(module, level) == database.kept(module, level));
  }
}

TEST_CASE("a folder of DarwinLM's without metadata", "[darwinlm]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Exported exported{world, test::data_file("models/llama3_tiny"), folder / "x.h5", folder / "theirs"};
  exported.make();
  if (world.is_root()) fs::remove(exported.theirs / "metadata.pth");
  world.barrier();
  CHECK(exported.code_of_import(folder / "y.h5") == 0);
  CHECK(same_levels(folder / "x.h5", folder / "y.h5"));
}

TEST_CASE("folders that are not imported", "[darwinlm]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Exported whole{world, test::data_file("models/llama3_tiny"), folder / "x.h5", folder / "theirs"};
  whole.make();
  const auto code_after = [&](const std::function<void(const fs::path&)>& harm) {
    const Exported harmed{world, whole.model, whole.ours, folder / "harmed"};
    if (world.is_root()) {
      fs::remove_all(harmed.theirs);
      fs::copy(whole.theirs, harmed.theirs, fs::copy_options::recursive);
      harm(harmed.theirs);
    }
    world.barrier();
    const int code = harmed.code_of_import(folder / "y.h5");
    CHECK_FALSE(fs::exists(folder / "y.h5"));
    world.barrier();
    return code;
  };
  const auto set = [](const fs::path& path, std::size_t at, std::uint16_t word) {
    change(path, [&](std::vector<std::byte>& bytes, TorchTensor&) {
      std::memcpy(bytes.data() + 2 * at, &word, 2);
    });
  };
  CHECK(code_after([&](const fs::path& at) { set(at / first_module / "0.pth", 5, 0x3f80); }) == 3);
  CHECK(code_after([&](const fs::path& at) { set(at / first_module / "2.pth", 5, 0x7fc0); }) == 3);
  CHECK(code_after([&](const fs::path& at) { fs::remove(at / first_module / "1.pth"); }) == 3);
  CHECK(code_after([&](const fs::path& at) { fs::remove(at / first_module / "4.pth"); }) == 3);
  CHECK(code_after([&](const fs::path& at) { fs::remove_all(at / first_module); }) == 3);
  CHECK(code_after([&](const fs::path& at) { fs::resize_file(at / first_module / "3.pth", 999); }) == 3);
  // A column that the last level has and an earlier one lacks.
  CHECK(code_after([&](const fs::path& at) { set(at / first_module / "4.pth", 7, 0x3f80); }) == 3);
  CHECK(code_after([&](const fs::path& at) {
          change(at / first_module / "1.pth", [](std::vector<std::byte>&, TorchTensor& tensor) {
            std::swap(tensor.shape[0], tensor.shape[1]);
            tensor.strides = row_major_strides(tensor.shape);
          });
        }) == 3);
  CHECK(code_after([&](const fs::path& at) {
          change(at / first_module / "1.pth",
                 [](std::vector<std::byte>&, TorchTensor& tensor) { tensor.dtype = "F16"; });
        }) == 3);
  const auto with_counts = [](const fs::path& at, std::vector<std::int64_t> attention) {
    TorchValue::List attn, mlp;
    for (const std::int64_t count : attention) attn.push_back({count});
    for (const std::int64_t count : {0, 44, 88, 132, 176}) mlp.push_back({std::int64_t{count}});
    write_torch_file(at / "metadata.pth",
                     {TorchValue::Dict{{"cols_removed_attn", {attn}}, {"cols_removed_mlp", {mlp}}}});
  };
  CHECK(code_after([&](const fs::path& at) { with_counts(at, {0, 17, 32, 48, 64}); }) == 3);
  CHECK(code_after([&](const fs::path& at) { with_counts(at, {0, 4096}); }) == 3);
  CHECK(code_after([&](const fs::path& at) { with_counts(at, {16, 32, 48, 64}); }) == 3);
  CHECK(code_after([](const fs::path& at) { write_torch_file(at / "metadata.pth", {std::int64_t{3}}); }) ==
        3);
  CHECK(code_after([](const fs::path& at) { test::write_text(at / "metadata.pth", "PK\3\4"); }) == 3);
  CHECK(whole.code_of_import(folder / "x.h5") == 3);  // there is something already
  const auto again = [&] {
    try {
      export_darwinlm(world, whole.checkpoint, DatabaseReader(whole.ours), whole.theirs);
      return 0;
    } catch (const Error& error) {
      return error.agreed() ? static_cast<int>(error.code()) : -1;
    }
  };
  CHECK(again() == 3);
}
