// Databases of many small modules, as mixtures of experts make them.
#include "pruning/database_layout.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/small_run.hpp"

#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/database.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t hidden = 8;
const std::vector<std::int64_t> ffn_levels = {0, 1, 3, 4}, attention_levels = {0, 1, 2};

/// Layers of 40 experts of four columns.
DatabaseHeader wide_header(std::int64_t layers) {
  DatabaseHeader header;
  header.config = parse_hf_config({{"model_type", "qwen3_moe"},
                                   {"hidden_size", hidden},
                                   {"intermediate_size", 16},
                                   {"moe_intermediate_size", 4},
                                   {"num_hidden_layers", layers},
                                   {"num_attention_heads", 2},
                                   {"num_key_value_heads", 1},
                                   {"head_dim", 4},
                                   {"vocab_size", 32},
                                   {"num_experts", 40},
                                   {"num_experts_per_tok", 2}},
                                  "config.json");
  header.created = "2026-11-29T00:00:00Z";
  for (const ModuleId& module : header.modules())
    header.levels[module] = module.kind == ModuleKind::attention ? attention_levels : ffn_levels;
  return header;
}

/// The values that a module has in the file, no two of them alike.
struct Values {
  Values(const DatabaseHeader& header, std::size_t index) : id(header.modules()[index]) {
    const std::int64_t structures = header.removed(id).back();
    const auto seed = static_cast<double>(index);
    for (std::int64_t i = 0; i < structures; ++i) {
      summary.order.push_back(static_cast<std::int32_t>((i + static_cast<std::int64_t>(index)) % structures));
      summary.loss.push_back(seed + static_cast<double>(i) / 16);
    }
    summary.relative_damping = 0.01;
    summary.attempts = 1;
    if (id.expert != no_expert) use = ExpertUse{seed, 1, 2, 3};
  }

  std::vector<float> weight(const DatabaseHeader& header, std::int64_t level) const {
    std::vector<float> values(static_cast<std::size_t>(header.kept_columns(id, level) * hidden));
    std::iota(values.begin(), values.end(),
              static_cast<float>(1000 * level + static_cast<std::int64_t>(summary.loss.front())));
    return values;
  }

  ModuleId id;
  ObsSummary summary;
  std::optional<ExpertUse> use;
};

/// Each rank writes every so manieth module from `first` on. Collective.
void write_modules(const Communicator& world, const std::filesystem::path& path, const DatabaseHeader& header,
                   std::size_t first) {
  DatabaseWriter writer(path, world, DatabaseWriter::begin_thread(path), header);
  const std::size_t count = header.modules().size();
  for (std::size_t i = first + static_cast<std::size_t>(world.rank()); i < count;
       i += static_cast<std::size_t>(world.size())) {
    const Values values(header, i);
    for (std::int64_t level = 1; level < std::ssize(header.removed(values.id)); ++level) {
      std::vector<float> weight = values.weight(header, level);
      const Shape shape{header.kept_columns(values.id, level), hidden};
      writer.write_level(values.id, level,
                         Tensor{reinterpret_cast<std::byte*>(weight.data()), shape, DType::f32, Device::cpu});
    }
    writer.finish_module(values.id, values.summary, values.use);
  }
  writer.drain();
  writer.close();
}

void check_module(const DatabaseReader& reader, std::size_t index) {
  const DatabaseHeader& header = reader.header();
  const Values values(header, index);
  CAPTURE(name_of(values.id));
  CHECK(reader.done(values.id));
  CHECK(reader.order(values.id) == values.summary.order);
  CHECK(reader.loss(values.id) == values.summary.loss);
  CHECK(reader.damping(values.id) == std::vector<double>{0.01, 1, 0});
  CHECK(reader.use(values.id).has_value() == values.use.has_value());
  if (values.use) CHECK(reader.use(values.id)->tokens == values.use->tokens);
  CHECK_NOTHROW(reader.verify(values.id));
  for (std::int64_t level = 1; level < std::ssize(header.removed(values.id)); ++level) {
    const std::vector<float> weight = values.weight(header, level);
    const auto bytes = std::as_bytes(std::span(weight));
    CHECK(std::ranges::equal(reader.level_bytes(values.id, level), bytes));
    std::vector<std::byte> storage;
    if (header.kept_columns(values.id, level) < 2) continue;
    const auto row = reader.read_level_rows(values.id, level, 1, 1, false, storage);
    CHECK(std::ranges::equal(row, bytes.subspan(hidden * sizeof(float), hidden * sizeof(float))));
  }
}

}  // namespace

TEST_CASE("hundreds of small modules are written by all ranks and read whole", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const std::filesystem::path part = folder / "x.h5.part", path = folder / "x.h5";
  const DatabaseHeader header = wide_header(8);
  const std::size_t count = header.modules().size(), late = count - 20;
  REQUIRE(count == 8 * 41);
  if (world.is_root()) create_database(part, header);
  world.barrier();
  if (world.is_root()) {
    const DatabaseReader empty(part);
    CHECK_FALSE(empty.complete());
    CHECK(empty.header().levels == header.levels);
    for (const ModuleId& module : header.modules()) CHECK_FALSE(empty.done(module));
  }
  world.barrier();
  write_modules(world, part, header, late);
  if (world.is_root()) {
    const DatabaseReader begun(part);
    for (std::size_t i = 0; i < count; ++i) CHECK(begun.done(header.modules()[i]) == (i >= late));
  }
  world.barrier();
  write_modules(world, part, header, 0);
  if (world.is_root()) {
    complete_database(part, path);
    const DatabaseReader reader(path);
    CHECK(reader.complete());
    for (std::size_t i = 0; i < count; ++i) check_module(reader, i);
  }
  world.barrier();
}

TEST_CASE("what does not fit the levels is refused when it is read", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const std::filesystem::path part = folder / "x.h5.part", path = folder / "x.h5";
  const DatabaseHeader header = wide_header(1);
  if (world.is_root()) create_database(part, header);
  world.barrier();
  write_modules(world, part, header, 0);
  if (world.is_root()) {
    complete_database(part, path);
    const ModuleId expert{0, ModuleKind::ffn, 7}, attention{0, ModuleKind::attention};
    const auto with_levels = [&](const std::vector<std::int64_t>& levels) {
      Hdf5File file = Hdf5File::open_to_change(path);
      file.write_values(layout::levels_path(ModuleKind::ffn), Hdf5Type::i64, levels);
      file.close();
      return DatabaseReader(path);
    };
    std::vector<std::byte> storage;
    {
      const DatabaseReader other = with_levels({0, 1, 2, 4});
      CHECK_NOTHROW(other.order(expert));
      CHECK_NOTHROW(other.level_bytes(expert, 1));
      CHECK_THROWS_AS(other.level_bytes(expert, 2), InputError);
      CHECK_THROWS_AS(other.level_bytes(expert, 2, true), InputError);
      CHECK_THROWS_AS(other.read_level_rows(expert, 2, 0, 1, false, storage), InputError);
      CHECK_THROWS_AS(other.verify(expert), InputError);
      CHECK_NOTHROW(other.verify(attention));
    }
    {
      const DatabaseReader shorter = with_levels({0, 1, 2, 3});  // than there are of order and loss
      CHECK_THROWS_AS(shorter.order(expert), InputError);
      CHECK_THROWS_AS(shorter.loss(expert), InputError);
    }
    CHECK_NOTHROW(with_levels(ffn_levels).verify(expert));
    Hdf5File file = Hdf5File::open_to_change(path);
    file.write_values<std::uint8_t>(group_of(expert) + "/state", Hdf5Type::u8, {0});
    file.close();
    CHECK_THROWS_AS(DatabaseReader(path), InputError);  // it says it is complete
  }
  world.barrier();
}
