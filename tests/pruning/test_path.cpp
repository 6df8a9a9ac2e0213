#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/small_run.hpp"

#include <cmath>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/pruned_module.hpp>

using namespace galapagos;

namespace {

/// The mean squared distance, over the calibration tokens, between the last hidden states of the unpruned
/// model and of the one at the levels of a database's path.
double distance_on_path(const Communicator& world, const DatabaseOptions& options) {
  const DatabaseReader database(options.output);
  const DatabaseHeader& header = database.header();
  const HfConfig& config = header.config;
  const Checkpoint checkpoint(options.model);
  const TokenSet data = load_model_sequences(world, options.calibration, options.model, config,
                                             {header.sequence_length, options.calibration_tokens, false});
  const ops::Context context;
  const OwnedTensor embedding = load_embedding(checkpoint, config, DType::f32, Device::cpu);
  const std::vector<Batch> batches = make_batches(data.tokens, data.offsets, 512);
  LayerForward forward(context, config, 512);
  std::vector<LayerWeights> dense, pruned;
  const std::vector<ModuleId> modules = header.modules();
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    dense.push_back(load_layer(checkpoint, config, layer, DType::f32, Device::cpu));
    pruned.push_back(load_layer(checkpoint, config, layer, DType::f32, Device::cpu));
  }
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (header.path[i] < header.first_stored()) continue;
    const std::vector<std::int64_t> kept = database.kept(modules[i], header.path[i]);
    LayerWeights& layer = pruned[static_cast<std::size_t>(modules[i].layer)];
    const bool attention = modules[i].kind == ModuleKind::attention;
    if (kept.empty()) {
      if (attention) layer.attention = {};
      if (!attention) layer.ffn = {};
      continue;
    }
    OwnedTensor weight = level_weight(context, database.level_bytes(modules[i], header.path[i]), header.dtype,
                                      DType::f32, std::ssize(kept), std::ssize(kept), config.hidden_size);
    if (attention) {
      layer.attention = prune_attention(context, layer.attention, config.head_dim, kept, std::move(weight));
    } else {
      layer.ffn = prune_ffn(context, layer.ffn, kept, std::move(weight));
    }
  }
  double sum = 0;
  for (const Batch& batch : batches) {
    const Shape shape{static_cast<std::int64_t>(batch.tokens.size()), config.hidden_size};
    const OwnedTensor a(shape, DType::f32, Device::cpu, "test"), b(shape, DType::f32, Device::cpu, "test");
    ops::embed(context, batch.tokens, embedding, a);
    ops::embed(context, batch.tokens, embedding, b);
    for (const LayerWeights& layer : dense) forward.run(layer, batch.offsets, a);
    for (const LayerWeights& layer : pruned) forward.run(layer, batch.offsets, b);
    for (std::int64_t i = 0; i < a->elements(); ++i)
      sum += std::pow(static_cast<double>(a->floats()[i]) - b->floats()[i], 2);
  }
  return sum / static_cast<double>(data.tokens.size());
}

/// As a run leaves it that was killed when `done` modules were done.
void cut_short(const std::filesystem::path& whole, const std::filesystem::path& part, std::size_t done) {
  std::filesystem::copy_file(whole, part, std::filesystem::copy_options::overwrite_existing);
  const DatabaseHeader header = DatabaseReader(whole).header();
  Hdf5File file = Hdf5File::open_to_change(part);
  const std::vector<ModuleId> modules = header.modules();
  for (std::size_t i = done; i < modules.size(); ++i) {
    const std::string at = "/modules/" + std::to_string(modules[i].layer) + "/" + name_of(modules[i].kind);
    file.write_values<std::uint8_t>(at + "/state", Hdf5Type::u8, {0});
    for (std::int64_t level = header.first_stored(); level < std::ssize(header.removed(modules[i]));
         ++level) {
      const std::string weight = at + "/level_" + std::to_string(level) + "/weight";
      const Hdf5DatasetInfo info = file.describe(weight);
      file.write(weight, info.type, std::vector<std::byte>(info.elements * size_of(info.type)));
    }
  }
  file.write_attribute("/", "complete", std::int64_t{0});
  file.close();
}

constexpr Compensation automatic = {};
constexpr Compensation given = {0.3};

}  // namespace

TEST_CASE("the path of the unpruned model gives the ordinary database but for rounding", "[path]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* model : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny"}) {
    const DatabaseOptions plain = test::small_database(model, folder / (std::string(model) + ".h5"));
    const DatabaseOptions path =
        test::on_path(world, test::small_database(model, folder / (std::string(model) + "_path.h5")), 0, 0);
    CHECK(test::code_of_build(world, plain) == 0);
    CHECK(test::code_of_build(world, path) == 0);
    if (world.is_root()) {
      const test::Difference difference = test::compare(plain.output, path.output);
      CHECK(difference.same_order);
      CHECK(difference.largest_loss < 1e-3);
      CHECK(difference.largest_weight < 1e-2);
      CHECK(DatabaseReader(path.output).header().first_stored() == 1);
    }
    world.barrier();
  }
}

TEST_CASE("a path's database is the same on any number of ranks but for rounding", "[path]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const std::optional<Compensation>& compensation :
       {std::optional<Compensation>(), {given}, {automatic}}) {
    const std::string name = compensation ? name_of(*compensation) : "none";
    const DatabaseOptions together = test::on_path(
        world, test::small_database("llama3_tiny", folder / ("all_" + name + ".h5")), 1, 2, compensation);
    DatabaseOptions alone = together;
    alone.output = folder / ("one_" + name + ".h5");
    CHECK(test::code_of_build(world, together) == 0);
    const Communicator only_root = world.split(world.is_root() ? 0 : 1, world.rank());
    if (world.is_root()) {
      build_database(only_root, ops::Context(), alone);
      const test::Difference difference = test::compare(alone.output, together.output);
      // A weight of the path that rounds to its other neighbour may change who goes next further on.
      CHECK(difference.largest_loss < 1e-2);
      if (difference.same_order) CHECK(difference.largest_weight < 2e-2);
      const DatabaseReader reader(together.output);
      CHECK(reader.complete());
      CHECK(reader.header().first_stored() == (compensation ? 0 : 1));
      for (const ModuleId& module : reader.header().modules()) CHECK_NOTHROW(reader.verify(module));
    }
    world.barrier();
  }
}

TEST_CASE("the compensated path stays closer to the unpruned model", "[path]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* model : {"llama3_tiny", "llama2_tiny"}) {
    const auto built = [&](const std::string& name, const std::optional<Compensation>& compensation) {
      const DatabaseOptions options = test::on_path(
          world, test::small_database(model, folder / (model + name + ".h5")), 2, 0, compensation);
      CHECK(test::code_of_build(world, options) == 0);
      return options;
    };
    const double without = distance_on_path(world, built("_none", std::nullopt)),
                 with = distance_on_path(world, built("_given", given)),
                 chosen = distance_on_path(world, built("_auto", automatic));
    CAPTURE(model, without, with, chosen);
    CHECK(with < 0.98 * without);
    CHECK(chosen < without);
  }
}

TEST_CASE("a path taken up after any module ends with the same bits", "[path]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const std::optional<Compensation>& compensation :
       {std::optional<Compensation>(), {given}, {automatic}}) {
    const std::string name = compensation ? name_of(*compensation) : "none";
    const DatabaseOptions reference = test::on_path(
        world, test::small_database("llama2_tiny", folder / (name + ".h5")), 0, 1, compensation);
    CHECK(test::code_of_build(world, reference) == 0);
    DatabaseOptions again = reference;
    again.output = folder / (name + "_again.h5");
    again.resume = Resume::yes;
    const std::size_t modules = DatabaseReader(reference.output).header().modules().size();
    for (std::size_t done = 0; done <= modules; ++done) {
      if (world.is_root()) {
        std::filesystem::remove(again.output);
        cut_short(reference.output, part_path(again.output), done);
      }
      world.barrier();
      CHECK(test::code_of_build(world, again) == 0);
      if (world.is_root()) CHECK(test::compare(reference.output, again.output).same_bits);
      world.barrier();
    }
  }
}

TEST_CASE("a path stopped after every module ends with the same bits", "[path]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions reference =
      test::on_path(world, test::small_database("llama2_tiny", folder / "a.h5"), 0, 1, automatic);
  CHECK(test::code_of_build(world, reference) == 0);
  DatabaseOptions stopped = reference;
  stopped.output = folder / "b.h5";
  stopped.max_seconds = 1e-9;
  const std::size_t modules = DatabaseReader(reference.output).header().modules().size();
  for (std::size_t run = 1; run <= modules; ++run) {
    CHECK(test::code_of_build(world, stopped) == (run < modules ? 75 : 0));
    CHECK(std::filesystem::exists(part_path(stopped.output)) == (run < modules));
    stopped.resume = Resume::yes;
  }
  if (world.is_root()) CHECK(test::compare(reference.output, stopped.output).same_bits);
  world.barrier();
}

TEST_CASE("another path or compensation is another database", "[path]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions options =
      test::on_path(world, test::small_database("llama2_tiny", folder / "x.h5"), 1, 0, given);
  CHECK(test::code_of_build(world, options) == 0);
  if (world.is_root()) cut_short(options.output, part_path(folder / "y.h5"), 3);
  world.barrier();
  DatabaseOptions resumed = options;
  resumed.resume = Resume::yes;
  resumed.output = folder / "y.h5";
  const auto code = [&](auto change) {
    DatabaseOptions other = resumed;
    change(other);
    return test::code_of_build(world, other);
  };
  DatabaseOptions elsewhere =
      test::on_path(world, test::small_database("llama2_tiny", folder / "z.h5"), 1, 1);
  CHECK(code([&](DatabaseOptions& o) { o.path = elsewhere.path; }) == 3);
  CHECK(code([](DatabaseOptions& o) { o.compensation = Compensation{1}; }) == 3);
  CHECK(code([](DatabaseOptions& o) { o.compensation.reset(); }) == 3);
  CHECK(code([](DatabaseOptions& o) {
          o.path.reset();
          o.compensation.reset();
        }) == 3);
  CHECK(code([](DatabaseOptions&) {}) == 0);
  if (world.is_root()) CHECK(test::compare(options.output, resumed.output).same_bits);
  world.barrier();
}

TEST_CASE("a path that cannot be gone is refused before anything is written", "[path]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions good =
      test::on_path(world, test::small_database("llama3_tiny", folder / "x.h5"), 1, 0, automatic);
  if (world.is_root()) {
    test::write_text(folder / "short.txt", "model.layers.0.mlp.down_proj: 1\n");
    test::write_text(folder / "high.txt", "model.layers.0.mlp.down_proj: 100\n");
  }
  world.barrier();
  const auto code = [&](auto change) {
    DatabaseOptions options = good;
    change(options);
    return test::code_of_build(world, options);
  };
  CHECK(code([](DatabaseOptions& o) { o.lanes = 1; }) == 2);
  CHECK(code([](DatabaseOptions& o) { o.path.reset(); }) == 2);
  CHECK(code([&](DatabaseOptions& o) { o.path = folder / "none.txt"; }) == 3);
  CHECK(code([&](DatabaseOptions& o) { o.path = folder / "short.txt"; }) == 3);
  CHECK(code([&](DatabaseOptions& o) { o.path = folder / "high.txt"; }) == 3);
  CHECK(code([](DatabaseOptions& o) { o.calibration_tokens = 300; }) ==
        3);  // too few sequences to hold any out
  // Hidden states, or one rank, that do not fit.
  CHECK(code([](DatabaseOptions& o) { o.memory_limit = 1000; }) == 4);
  CHECK(code([&](DatabaseOptions& o) {
          o.memory_limit = world.rank() + 1 == world.size() ? 1000 : std::uint64_t{1} << 34;
        }) == 4);
  CHECK(code([](DatabaseOptions& o) { o.dry_run = true; }) == 0);
  CHECK(!std::filesystem::exists(good.output));
  CHECK(!std::filesystem::exists(part_path(good.output)));
  CHECK(code([](DatabaseOptions&) {}) == 0);
}
