// Databases whose order sensitivities weigh.
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/flip_byte.hpp"
#include "support/random.hpp"
#include "support/small_run.hpp"

#include <cmath>
#include <fstream>
#include <map>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>
#include <galapagos/pruning/sketch.hpp>

using namespace galapagos;

namespace {

constexpr const char* model = "llama3_tiny";

/// G of a module: the mean of squares of a few random gradients; the lower triangle.
std::vector<float> random_sensitivity(const ModuleId& module, std::int64_t hidden, unsigned seed) {
  std::mt19937 random(seed + 2 * static_cast<unsigned>(module.layer) +
                      (module.kind == ModuleKind::ffn ? 1 : 0));
  const OwnedTensor g = test::random_tensor({5, hidden}, random, DType::f32, 1e-3f);
  std::vector<float> lower;
  for (std::int64_t i = 0; i < hidden; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (std::int64_t t = 0; t < 5; ++t)
        sum += static_cast<double>(g->floats()[t * hidden + i]) * g->floats()[t * hidden + j] / 5;
      lower.push_back(static_cast<float>(sum));
    }
  }
  return lower;
}

constexpr std::int64_t sketch_rank = 8;  // at least that of G

/// What is made of the products of G with the directions of a sketch.
std::vector<float> sketch_of(const std::vector<float>& lower, std::int64_t hidden) {
  const OwnedTensor matrix = sketch_matrix(1, sketch_rank, hidden);
  const auto at = [&](std::int64_t i, std::int64_t j) {
    return static_cast<double>(
        lower[static_cast<std::size_t>(i >= j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i)]);
  };
  std::vector<float> values;
  for (std::int64_t i = 0; i < hidden; ++i) {
    for (std::int64_t r = 0; r < sketch_rank; ++r) {
      double sum = 0;
      for (std::int64_t k = 0; k < hidden; ++k) sum += at(i, k) * matrix->floats()[r * hidden + k];
      values.push_back(static_cast<float>(sum));
    }
  }
  for (std::int64_t i = 0; i < hidden; ++i) values.push_back(static_cast<float>(at(i, i)));
  finish_sketch(matrix, values, "test");
  return values;
}

/// What `galapagos sensitivity` keeps of it.
std::vector<float> in_form(const std::vector<float>& lower, std::int64_t hidden, SensitivityForm form) {
  if (form == SensitivityForm::full) return lower;
  if (form == SensitivityForm::lowrank) return sketch_of(lower, hidden);
  std::vector<float> diagonal;
  double mean = 0;
  for (std::int64_t i = 0; i < hidden; ++i) {
    diagonal.push_back(lower[static_cast<std::size_t>(i * (i + 3) / 2)]);
    mean += diagonal.back() / static_cast<double>(hidden);
  }
  return form == SensitivityForm::diagonal ? diagonal : std::vector<float>{static_cast<float>(mean)};
}

/// Collective.
void write_random_sensitivities(const Communicator& world, const std::filesystem::path& path,
                                SensitivityForm form, unsigned seed) {
  SensitivityHeader header;
  const std::filesystem::path folder = test::data_file(std::string("models/") + model);
  header.tool_version = "test";
  header.created = "2000-01-01T00:00:00Z";
  header.config = read_hf_config(folder);
  header.model_fingerprint = hex64(Checkpoint(folder).fingerprint());
  header.calibration_fingerprint = hex64(seed);
  header.form = form;
  header.rank = form == SensitivityForm::lowrank ? sketch_rank : 0;
  Sensitivities mine;
  const std::vector<ModuleId> modules = header.modules();
  for (std::size_t i = static_cast<std::size_t>(world.rank()); i < modules.size();
       i += static_cast<std::size_t>(world.size())) {
    const std::int64_t hidden = header.config.hidden_size;
    mine[modules[i]].curvature = in_form(random_sensitivity(modules[i], hidden, seed), hidden, form);
  }
  write_sensitivities(world, path, header, 0, mine);
}

DatabaseOptions weighed_database(const std::filesystem::path& output,
                                 const std::filesystem::path& sensitivity) {
  DatabaseOptions options = test::small_database(model, output);
  options.precision = DType::f32;
  options.sensitivity = sensitivity;
  return options;
}

//// Mean over the calibration tokens of y^T G y / 2, y the output of a module of the model as it is: what it
/// costs to remove all of it. In fp64, without a Hessian.
std::map<ModuleId, double> costs_of_all(const TokenSet& calibration, SensitivityForm form, unsigned seed) {
  const ops::Context context;
  const std::filesystem::path folder = test::data_file(std::string("models/") + model);
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const std::int64_t hidden_size = config.hidden_size;
  std::map<ModuleId, double> costs;
  std::map<ModuleId, std::vector<float>> weights, metrics;
  const OwnedTensor embedding = load_embedding(checkpoint, config, DType::f32, Device::cpu);
  LayerForward forward(context, config, 128);
  const auto total = static_cast<double>(calibration.tokens.size());
  for (std::size_t s = 0; s + 1 < calibration.offsets.size(); ++s) {
    const std::uint64_t first = calibration.offsets[s];
    const auto count = static_cast<std::int64_t>(calibration.offsets[s + 1] - first);
    const OwnedTensor hidden = test::poisoned({count, hidden_size});
    ops::embed(context, std::span(calibration.tokens).subspan(first, static_cast<std::size_t>(count)),
               embedding, hidden);
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      const auto add = [&](ModuleKind kind) {
        return [&, module = ModuleId{layer, kind}](const Tensor& input) {
          const std::int64_t n = input.columns();
          std::vector<float>& weight = weights[module];
          if (weight.empty()) weight = checkpoint.read_float(name_of(module) + ".weight", {hidden_size, n});
          std::vector<float>& metric = metrics[module];
          if (metric.empty()) metric = random_sensitivity(module, hidden_size, seed);
          const double mean = in_form(metric, hidden_size, SensitivityForm::scalar).front();
          std::vector<double> y(static_cast<std::size_t>(hidden_size));
          for (std::int64_t t = 0; t < input.rows(); ++t) {
            for (std::int64_t i = 0; i < hidden_size; ++i) {
              double sum = 0;
              for (std::int64_t j = 0; j < n; ++j)
                sum += static_cast<double>(weight[static_cast<std::size_t>(i * n + j)]) *
                       input.floats()[t * n + j];
              y[static_cast<std::size_t>(i)] = sum;
            }
            for (std::int64_t i = 0; i < hidden_size; ++i) {
              const double y_i = y[static_cast<std::size_t>(i)];
              const auto row = static_cast<std::size_t>(i * (i + 1) / 2);
              if (form == SensitivityForm::scalar) {
                costs[module] += mean * y_i * y_i / 2 / total;
                continue;
              }
              costs[module] += metric[row + static_cast<std::size_t>(i)] * y_i * y_i / 2 / total;
              for (std::int64_t j = 0; j < i && form == SensitivityForm::full; ++j)
                costs[module] +=
                    metric[row + static_cast<std::size_t>(j)] * y_i * y[static_cast<std::size_t>(j)] / total;
            }
          }
        };
      };
      const std::vector<std::int64_t> one = {0, count};
      forward.run(load_layer(checkpoint, config, layer, DType::f32, Device::cpu), one, hidden,
                  {add(ModuleKind::attention), add(ModuleKind::ffn)});
    }
  }
  return costs;
}

}  // namespace

TEST_CASE("end losses are nats per token, whatever is kept of G", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const SensitivityForm form :
       {SensitivityForm::full, SensitivityForm::diagonal, SensitivityForm::scalar}) {
    const std::filesystem::path sensitivity = folder / ("s_" + name_of(form) + ".h5");
    write_random_sensitivities(world, sensitivity, form, 70);
    const DatabaseOptions options = weighed_database(folder / ("d_" + name_of(form) + ".h5"), sensitivity);
    CHECK(test::code_of_build(world, options) == 0);
    const TokenSet calibration =
        load_model_sequences(world, options.calibration, options.model, read_hf_config(options.model),
                             {options.sequence_length, options.calibration_tokens, options.add_bos});
    if (world.is_root()) {
      const auto expected = costs_of_all(calibration, form, 70);
      const DatabaseReader reader(options.output);
      CHECK(reader.complete());
      CHECK(reader.header().sensitivity_fingerprint == SensitivityReader(sensitivity).fingerprint());
      for (const ModuleId& module : reader.header().modules()) {
        CHECK_NOTHROW(reader.verify(module));
        const std::vector<double> end_loss = reader.end_loss(module);
        CHECK(end_loss.size() == reader.header().removed(module).size());
        CHECK(end_loss.front() == 0);
        for (std::size_t level = 1; level < end_loss.size(); ++level)
          CHECK(end_loss[level] > end_loss[level - 1]);
        INFO(name_of(module) << " " << name_of(form));
        CHECK(end_loss.back() == Approx(expected.at(module)).epsilon(1e-3));
      }
    }
    world.barrier();
  }
}

TEST_CASE("a sketch of G's own rank weighs as G does", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const SensitivityForm form : {SensitivityForm::full, SensitivityForm::lowrank}) {
    const std::filesystem::path sensitivity = folder / ("s_" + name_of(form) + ".h5");
    write_random_sensitivities(world, sensitivity, form, 75);
    CHECK(test::code_of_build(world,
                              weighed_database(folder / ("d_" + name_of(form) + ".h5"), sensitivity)) == 0);
  }
  if (world.is_root()) {
    const DatabaseReader full(folder / "d_full.h5"), lowrank(folder / "d_lowrank.h5");
    CHECK(test::compare(folder / "d_full.h5", folder / "d_lowrank.h5").same_order);
    for (const ModuleId& module : full.header().modules()) {
      const std::vector<double> expected = full.end_loss(module), found = lowrank.end_loss(module);
      CHECK(found.size() == expected.size());
      for (std::size_t level = 0; level < std::min(found.size(), expected.size()); ++level)
        CHECK(found[level] == Approx(expected[level]).epsilon(1e-3));
    }
  }
  world.barrier();
}

TEST_CASE("a weighed database is one file, bit for bit, on any number of ranks", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  write_random_sensitivities(world, folder / "s.h5", SensitivityForm::full, 71);
  DatabaseOptions together = weighed_database(folder / "all.h5", folder / "s.h5");
  together.lanes = 1;
  CHECK(test::code_of_build(world, together) == 0);
  const Communicator only_root = world.split(world.is_root() ? 0 : 1, world.rank());
  DatabaseOptions alone = weighed_database(folder / "one.h5", folder / "s.h5");
  DatabaseOptions plain = alone;
  plain.output = folder / "plain.h5";
  plain.sensitivity.reset();
  if (world.is_root()) {
    CHECK(test::code_of_build(only_root, alone) == 0);
    CHECK(test::code_of_build(only_root, plain) == 0);
    CHECK(test::compare(alone.output, together.output).same_bits);
    CHECK(!test::compare(alone.output, plain.output).same_order);
    const DatabaseReader one(alone.output), all(together.output), without(plain.output);
    for (const ModuleId& module : one.header().modules()) {
      CHECK(one.end_loss(module) == all.end_loss(module));
      CHECK(without.end_loss(module).empty());
    }
    CHECK(without.header().sensitivity_fingerprint.empty());
  }
  world.barrier();
}

TEST_CASE("a database goes on with the sensitivities it was begun with and no others", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  write_random_sensitivities(world, folder / "s.h5", SensitivityForm::full, 72);
  write_random_sensitivities(world, folder / "other.h5", SensitivityForm::full, 73);
  DatabaseOptions options = weighed_database(folder / "x.h5", folder / "s.h5");
  const DatabaseOptions reference = weighed_database(folder / "reference.h5", folder / "s.h5");
  CHECK(test::code_of_build(world, options) == 0);
  CHECK(test::code_of_build(world, reference) == 0);
  options.resume = Resume::yes;
  CHECK(test::code_of_build(world, options) == 0);  // nothing to do

  DatabaseOptions other = options;
  other.sensitivity = folder / "other.h5";
  CHECK(test::code_of_build(world, other) == 3);
  other.sensitivity.reset();
  CHECK(test::code_of_build(world, other) == 3);
  DatabaseOptions plain = options;
  plain.output = folder / "plain.h5";
  plain.sensitivity.reset();
  CHECK(test::code_of_build(world, plain) == 0);
  plain.sensitivity = folder / "s.h5";
  CHECK(test::code_of_build(world, plain) == 3);

  // A damaged end loss is found by the checksum and made again.
  if (world.is_root()) {
    std::fstream file(options.output, std::ios::in | std::ios::out | std::ios::binary);
    const auto place =
        test::place_in_file(options.output, "/modules/1/attn/end_loss") + 8;
    file.seekg(place);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(place);
    file.put(byte);
  }
  world.barrier();
  CHECK(test::code_of_build(world, options) == 3);
  options.repair = true;
  CHECK(test::code_of_build(world, options) == 0);
  if (world.is_root()) {
    CHECK(test::compare(reference.output, options.output).same_bits);
    const ModuleId module{1, ModuleKind::attention};
    CHECK(DatabaseReader(options.output).end_loss(module) ==
          DatabaseReader(reference.output).end_loss(module));
  }
  world.barrier();
}

TEST_CASE("sensitivities that do not fit are refused before anything is written", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  write_random_sensitivities(world, folder / "s.h5", SensitivityForm::diagonal, 74);
  DatabaseOptions options = weighed_database(folder / "x.h5", folder / "s.h5");
  options.model = test::data_file("models/qwen2_tiny");
  CHECK(test::code_of_build(world, options) == 3);
  options = weighed_database(folder / "x.h5", folder / "none.h5");
  CHECK(test::code_of_build(world, options) == 3);
  CHECK(!std::filesystem::exists(part_path(options.output)));
  // Not even those of one module are damaged in silence.
  if (world.is_root()) {
    std::fstream file(folder / "s.h5", std::ios::in | std::ios::out | std::ios::binary);
    const auto place =
        test::place_in_file(folder / "s.h5", "/modules/0/ffn/sensitivity");
    file.seekp(place + 3);
    file.put('\x7f');
  }
  world.barrier();
  CHECK(test::code_of_build(world, weighed_database(folder / "x.h5", folder / "s.h5")) == 3);
}
