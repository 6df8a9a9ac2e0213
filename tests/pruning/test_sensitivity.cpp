#include "golden_sensitivity.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/small_run.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/pruning/sketch.hpp>

using namespace galapagos;

namespace {

/// The options with which the golden values were made.
SensitivityOptions golden_options(const std::string& model, const std::filesystem::path& output) {
  SensitivityOptions options;
  options.model = test::data_file("models/" + model);
  options.output = output;
  options.calibration_tokens = 0;
  options.batch_tokens = 16;  // each of the two sequences is a batch of its own
  options.samples = 2;
  options.seed = 5;
  return options;
}

/// Collective. The exit code of a run, 0 where it ended well.
ExitCode measure(const Communicator& world, const SensitivityOptions& options, DType precision = DType::f32) {
  const ops::Context context;
  const Checkpoint checkpoint(options.model);
  SensitivityModel model;
  model.config = read_hf_config(options.model);
  model.fingerprint = hex64(checkpoint.fingerprint());
  model.precision = precision;
  model.source = [&](int shard, int shards) {
    return checkpoint_source(checkpoint, model.config, part_of_model(model.config, shard, shards), precision,
                             Device::cpu);
  };
  try {
    measure_sensitivities(world, context, options, model);
  } catch (const Error& error) {
    return error.code();
  }
  return ExitCode::done;
}

/// The greatest difference, relative to the greatest wanted; infinite where one is not finite or missing.
double relative_distance(const std::vector<float>& found, const std::vector<float>& wanted) {
  if (found.size() != wanted.size()) return INFINITY;
  double greatest = 0, most = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!std::isfinite(found[i])) return INFINITY;
    greatest = std::max(greatest, std::abs(static_cast<double>(wanted[i])));
    most = std::max(most, std::abs(static_cast<double>(found[i]) - static_cast<double>(wanted[i])));
  }
  return most / greatest;
}

/// The greatest difference of a module's values from the golden ones, relative to their greatest; infinite
/// where the file cannot be read.
double distance(const std::filesystem::path& path, const test::GoldenSensitivity& golden) {
  try {
    const SensitivityReader reader(path);
    double worst = 0;
    for (const ModuleId& module : reader.header().modules()) {
      const std::vector<float> found = reader.values(module),
                               wanted = golden.values(module, reader.header().form);
      worst = std::max(worst, relative_distance(found, wanted));
    }
    return worst;
  } catch (const Error&) {
    return INFINITY;
  }
}

/// As distance(), of a sketch's lower triangle from what the golden G's products with its directions give.
double distance_of_sketch(const SensitivityOptions& options, const test::GoldenSensitivity& golden) {
  try {
    const SensitivityReader reader(options.output);
    const std::int64_t n = reader.header().config.hidden_size, rank = reader.header().rank;
    const OwnedTensor matrix = sketch_matrix(options.seed, rank, n);
    double worst = 0;
    for (const ModuleId& module : reader.header().modules()) {
      const std::vector<float> g = golden.values(module, SensitivityForm::full);
      const auto at = [&](std::int64_t i, std::int64_t j) {
        return g[static_cast<std::size_t>(i >= j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i)];
      };
      std::vector<float> values;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t r = 0; r < rank; ++r) {
          double sum = 0;
          for (std::int64_t k = 0; k < n; ++k)
            sum += static_cast<double>(at(i, k)) * matrix->floats()[r * n + k];
          values.push_back(static_cast<float>(sum));
        }
      }
      for (std::int64_t i = 0; i < n; ++i) values.push_back(at(i, i));
      finish_sketch(matrix, values, "test");
      const std::vector<float> wanted = rank == n ? g : lower_of_sketch(values, rank, n);
      const std::vector<float> found = lower_of_sketch(reader.values(module), rank, n);
      worst = std::max(worst, relative_distance(found, wanted));
    }
    return worst;
  } catch (const Error&) {
    return INFINITY;
  }
}

/// All values of a file; empty where it cannot be read.
std::vector<std::vector<float>> all_values(const std::filesystem::path& path) {
  try {
    const SensitivityReader reader(path);
    std::vector<std::vector<float>> all;
    for (const ModuleId& module : reader.header().modules()) all.push_back(reader.values(module));
    return all;
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

TEST_CASE("sensitivities equal PyTorch's in fp64, over stages, lanes and shards", "[sensitivity]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const std::string name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "gemma3_tiny", "llama3_pruned",
                                 "qwen2_pruned", "qwen3_pruned", "gemma3_pruned"}) {
    const test::GoldenSensitivity golden(name);
    if (world.is_root()) golden.write_tokens(folder / name);
    world.barrier();
    int run = 0;
    const auto check = [&](int lanes, int shards, SensitivityForm form) {
      SensitivityOptions options = golden_options(name, folder / fmt::format("{}-{}.h5", name, ++run));
      options.calibration = {folder / (name + ".bin")};
      options.lanes = lanes;
      options.shards = shards;
      options.form = form;
      const ExitCode code = measure(world, options);
      INFO(name << ", " << world.size() << " ranks, " << lanes << " lanes, " << shards << " shards, "
                << name_of(form));
      CHECK(code == ExitCode::done);
      CHECK(distance(options.output, golden) < 1e-5);
    };
    for (int lanes = 0; lanes <= world.size(); ++lanes) check(lanes, 1, SensitivityForm::full);
    if (world.size() % 2 == 0) check(0, 2, SensitivityForm::full);
    check(0, 1, SensitivityForm::diagonal);
    check(1, 1, SensitivityForm::scalar);
  }
}

TEST_CASE("a sketch as wide as G gives G, and a narrow one G's Nystroem approximation", "[sensitivity]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const test::GoldenSensitivity golden("llama3_tiny");
  if (world.is_root()) golden.write_tokens(folder / "tokens");
  world.barrier();
  int run = 0;
  const auto check = [&](std::int64_t rank, int lanes, int shards, double tolerance) {
    SensitivityOptions options = golden_options("llama3_tiny", folder / fmt::format("{}.h5", ++run));
    options.calibration = {folder / "tokens.bin"};
    options.form = SensitivityForm::lowrank;
    options.rank = rank;
    options.lanes = lanes;
    options.shards = shards;
    CHECK(measure(world, options) == ExitCode::done);
    INFO(world.size() << " ranks, " << lanes << " lanes, " << shards << " shards, rank " << rank);
    CHECK(distance_of_sketch(options, golden) < tolerance);
  };
  const std::int64_t hidden = 64;
  for (int lanes = 0; lanes <= world.size(); ++lanes) {
    check(hidden, lanes, 1, 1e-5);
    check(12, lanes, 1, 1e-4);
  }
  if (world.size() % 2 == 0) check(12, 0, 2, 1e-4);
}

TEST_CASE("less memory means computing layers again, to the same bits, or a refusal", "[sensitivity]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const test::GoldenSensitivity golden("llama3_tiny");
  if (world.is_root()) golden.write_tokens(folder / "tokens");
  world.barrier();
  SensitivityOptions options = golden_options("llama3_tiny", folder / "all.h5");
  options.calibration = {folder / "tokens.bin"};
  options.lanes = 1;
  CHECK(measure(world, options) == ExitCode::done);
  const auto expected = all_values(options.output);
  int runs = 0;
  ExitCode code = ExitCode::done;
  for (double limit = 8e6; code == ExitCode::done && limit > 1e4; limit *= 0.9) {
    options.memory_limit = static_cast<std::uint64_t>(limit);
    options.output = folder / fmt::format("{}.h5", ++runs);
    code = measure(world, options);
    if (code == ExitCode::done) CHECK(all_values(options.output) == expected);
  }
  CHECK(runs > 3);
  CHECK(code == ExitCode::no_resources);
  CHECK(!std::filesystem::exists(options.output));
}

TEST_CASE("a run that is stopped again and again ends with the same bits", "[sensitivity]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const auto lowrank = GENERATE(false, true);
  SensitivityOptions options = golden_options("qwen2_tiny", folder / "whole.h5");
  if (lowrank) {
    options.form = SensitivityForm::lowrank;
    options.rank = 8;
  }
  options.calibration = {test::data_file("text/sample.jsonl")};
  options.calibration_tokens = 900;
  options.sequence_length = 64;
  options.batch_tokens = 64;
  options.checkpoint_tokens = 256;
  CHECK(measure(world, options) == ExitCode::done);
  const auto expected = all_values(options.output);
  CHECK(!expected.empty());

  options.output = folder / "stopped.h5";
  options.max_seconds = 1e-9;
  int stops = 0;
  for (ExitCode code = ExitCode::stopped_early; code == ExitCode::stopped_early && stops < 20;) {
    options.resume = stops > 0 ? Resume::yes : Resume::no;
    code = measure(world, options);
    if (code != ExitCode::stopped_early) CHECK(code == ExitCode::done);
    stops += code == ExitCode::stopped_early ? 1 : 0;
    CHECK(std::filesystem::exists(part_path(options.output)) == (code == ExitCode::stopped_early));
  }
  CHECK(stops >= 3);
  CHECK(all_values(options.output) == expected);

  // As a run leaves it that was killed before it removed its sums; once all ranks have looked for them.
  world.barrier();
  if (world.is_root()) std::filesystem::copy_file(folder / "whole.h5", part_path(options.output));
  world.barrier();
  options.resume = Resume::no;
  CHECK(measure(world, options) == ExitCode::bad_input);
  CHECK(std::filesystem::exists(part_path(options.output)));
  world.barrier();
  options.resume = Resume::yes;
  CHECK(measure(world, options) == ExitCode::done);
  CHECK(!std::filesystem::exists(part_path(options.output)));
  CHECK(all_values(options.output) == expected);

  // What was begun is not taken up as something else.
  options.output = folder / "other.h5";
  options.resume = Resume::no;
  CHECK(measure(world, options) == ExitCode::stopped_early);
  CHECK(measure(world, options) == ExitCode::bad_input);  // it is there
  options.resume = Resume::yes;
  SensitivityOptions changed = options;
  changed.seed = 6;
  CHECK(measure(world, changed) == ExitCode::bad_input);
  changed = options;
  changed.calibration_tokens = 800;
  CHECK(measure(world, changed) == ExitCode::bad_input);
  changed = options;
  changed.batch_tokens = 32;
  CHECK(measure(world, changed) == ExitCode::bad_input);
  changed = options;
  changed.form = SensitivityForm::diagonal;
  changed.rank = 0;
  CHECK(measure(world, changed) == ExitCode::bad_input);
  options.max_seconds = 0;
  CHECK(measure(world, options) == ExitCode::done);
  CHECK(all_values(options.output) == expected);
}

TEST_CASE("a damaged file of sensitivities is refused", "[sensitivity]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const test::GoldenSensitivity golden("llama3_tiny");
  if (world.is_root()) golden.write_tokens(folder / "tokens");
  world.barrier();
  SensitivityOptions options = golden_options("llama3_tiny", folder / "x.h5");
  options.calibration = {folder / "tokens.bin"};
  CHECK(measure(world, options) == ExitCode::done);
  if (world.is_root()) {
    const ModuleId first = {0, ModuleKind::attention};
    std::vector<float> values = all_values(options.output).front();
    values[3] += 1;
    Hdf5File file = Hdf5File::open_to_change(options.output);
    file.write_values("/modules/0/attn/sensitivity", Hdf5Type::f32, values);
    file.close();
    CHECK_THROWS_AS(SensitivityReader(options.output).values(first), InputError);
    const std::string whole = read_file(options.output);
    for (const double share : {0.1, 0.5, 0.9}) {
      const std::filesystem::path cut = folder / "cut.h5";
      test::write_text(cut,
                       whole.substr(0, static_cast<std::size_t>(share * static_cast<double>(whole.size()))));
      CHECK(all_values(cut).empty());
    }
    CHECK_THROWS_AS(SensitivityReader(folder / "tokens.bin"), InputError);
  }
}
