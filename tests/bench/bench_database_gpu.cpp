// What OBS of a module costs on a GPU, by phases, and what the database adds: the weight's way there and the
// levels' way out. Random inputs of more tokens than columns, whose columns differ in scale and have
// something in common with their neighbours.
//   bench_database_gpu      files go to $TMPDIR and are removed again
#include "ops/cuda/inverse.hpp"
#include "ops/cuda/obs_state.hpp"
#include "pruning/module_weights.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fcntl.h>
#include <fmt/format.h>
#include <functional>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/obs.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/obs.hpp>
#include <galapagos/pruning/staged_writer.hpp>
#include <galapagos/tensor/gpu.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t levels = 10;  // the last of them empty
constexpr DType stored_type = DType::bf16;

double seconds_of(const std::function<void()>& work) {
  synchronise(Device::cuda);
  const Stopwatch watch;
  work();
  synchronise(Device::cuda);
  return watch.seconds();
}

/// The better of two, since the first makes the libraries load what they need.
double better_of_two(const std::function<void()>& prepare, const std::function<void()>& work) {
  double best = INFINITY;
  for (int run = 0; run < 2; ++run) {
    prepare();
    best = std::min(best, seconds_of(work));
  }
  return best;
}

void say(const std::string& what, double seconds) {
  fmt::print("  {:<58} {:9.3f} ms\n", what, seconds * 1e3);
}
void say_work(const std::string& what, double seconds, double operations) {
  fmt::print("  {:<58} {:9.3f} ms {:8.1f} TFLOP/s\n", what, seconds * 1e3, operations / seconds / 1e12);
}
void say_traffic(const std::string& what, double seconds, double bytes) {
  fmt::print("  {:<58} {:9.3f} ms {:8.1f} GB/s\n", what, seconds * 1e3, bytes / seconds / 1e9);
}

OwnedTensor on_gpu(Shape shape, DType type = DType::f32) {
  return {shape, type, Device::cuda, "benchmark"};
}

/// Evenly distributed values of standard deviation 1; a row on each thread.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x1234567u) {}
  float next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return 1.7320508f * (static_cast<float>(state_ >> 40) * 0x1p-23f - 1.0f);
  }

 private:
  std::uint64_t state_;
};

/// `most_tokens` inputs [most_tokens, columns] at a time, into the same memory.
class Inputs {
 public:
  static constexpr std::int64_t most_tokens = 4096;

  explicit Inputs(std::int64_t columns)
      : host_({most_tokens, columns}, DType::f32, Device::cpu, "benchmark"), device_(on_gpu(host_->shape)) {
    std::mt19937 random(17);
    std::normal_distribution<float> normal;
    for (std::int64_t j = 0; j < columns; ++j) scales_.push_back(std::exp(normal(random)));
  }

  const Tensor& next() {
    const std::int64_t columns = host_->columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < most_tokens; ++t) {
      Noise noise(static_cast<std::uint64_t>(drawn_ + t));
      float common = 0;
      for (std::int64_t j = 0; j < columns; ++j) {
        common = 0.6f * common + noise.next();
        host_->floats()[t * columns + j] = common * scales_[static_cast<std::size_t>(j)];
      }
    }
    drawn_ += most_tokens;
    copy_bytes(device_->data, Device::cuda, host_->data, Device::cpu, host_->bytes());
    return device_;
  }

 private:
  OwnedTensor host_, device_;
  std::vector<float> scales_;
  std::int64_t drawn_ = 1;
};

/// A weight as a checkpoint stores it.
std::vector<std::byte> random_weight(std::int64_t rows, std::int64_t columns) {
  std::vector<std::byte> words(static_cast<std::size_t>(rows * columns) * size_of(stored_type));
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < rows; ++i) {
    Noise noise(static_cast<std::uint64_t>(1000000 + i));
    std::vector<float> row(static_cast<std::size_t>(columns));
    for (float& value : row) value = 0.02f * noise.next();
    convert_from_float(row, stored_type,
                       words.data() + static_cast<std::size_t>(i * columns) * size_of(stored_type));
  }
  return words;
}

/// A module of a model of two layers of one shape, with its Hessian.
struct Module {
  ModuleKind kind;
  std::int64_t rows, columns, unit;

  std::string name() const {
    return fmt::format("{} x {}{}", rows, columns, unit > 1 ? fmt::format(", heads of {}", unit) : "");
  }
  HfConfig config() const {
    HfConfig config;
    config.hidden_size = rows;
    config.layers = 2;
    config.head_dim = unit > 1 ? unit : 128;
    config.heads = config.kv_heads = kind == ModuleKind::attention ? columns / unit : 1;
    config.intermediate_size = kind == ModuleKind::ffn ? columns : 1;
    config.layer_shapes.assign(2, even_layer_shape(config.heads, config.kv_heads, config.intermediate_size));
    return config;
  }
  ModuleId id(std::int64_t layer) const { return {layer, kind}; }
};

void write_checkpoint(const std::filesystem::path& path, const Module& module) {
  const std::vector<std::byte> words = random_weight(module.rows, module.columns);
  std::vector<TensorEntry> tensors;
  for (std::int64_t layer = 0; layer < 2; ++layer)
    tensors.push_back(
        {name_of(module.id(layer)) + ".weight", "BF16", {module.rows, module.columns}, std::span(words)});
  write_safetensors(path, tensors);
}

OwnedTensor random_hessian(const ops::Context& context, std::int64_t columns) {
  OwnedTensor h = on_gpu({columns, columns});
  fill_zero(h);
  Inputs inputs(columns);
  const std::int64_t batches = columns / Inputs::most_tokens + 1;
  for (std::int64_t b = 0; b < batches; ++b)
    ops::accumulate_gram(context, inputs.next(), 2.0f / static_cast<float>(batches * Inputs::most_tokens), h);
  return h;
}

ObsProblem problem_of(const Module& module, const Tensor& weight, const Tensor& hessian) {
  ObsProblem problem;
  problem.name = module.name();
  problem.weight = copy_of(weight, Device::cuda, "benchmark");
  problem.hessian = copy_of(hessian, Device::cuda, "benchmark");
  problem.unit = module.unit;
  const std::int64_t structures = module.columns / module.unit;
  for (std::int64_t k = 1; k <= levels; ++k) problem.removed.push_back(structures * k / levels);
  return problem;
}

ops::ObsState state_of(const Tensor& weight, const Tensor& hessian) {
  ops::ObsState state;
  state.columns = weight.rows();
  state.rows = weight.columns();
  state.weight = copy_of(weight, Device::cuda, "benchmark");
  state.inverse = copy_of(hessian, Device::cuda, "benchmark");
  return state;
}

/// The weight's way to the GPU, by pieces.
OwnedTensor measure_weight(const ops::Context& context, const Module& module, const Checkpoint& checkpoint) {
  const std::string name = name_of(module.id(0)) + ".weight";
  const Shape shape{module.rows, module.columns}, turned_shape{module.columns, module.rows};
  const OwnedTensor there = on_gpu(shape, stored_type), turned = on_gpu(turned_shape, stored_type);
  OwnedTensor wide = on_gpu(turned_shape);
  StagingBuffer staging;
  const auto staged = staging.reserve(there->bytes(), Device::cuda, "benchmark");
  const auto bytes = static_cast<double>(there->bytes());
  const auto read = [&] {
    checkpoint.read_rows(name, {module.rows, module.columns}, 0, module.rows, stored_type, staged);
  };
  say_traffic("read into page-locked memory (on a thread, while pruning)", better_of_two([] {}, read), bytes);
  say_traffic(
      "upload",
      better_of_two(
          [] {}, [&] { copy_bytes(there->data, Device::cuda, staged.data(), Device::cpu, there->bytes()); }),
      bytes);
  say_traffic("transpose and widen (bytes of both passes)",
              better_of_two([] {},
                            [&] {
                              ops::transpose(context, there, turned);
                              ops::convert(context, turned, wide);
                            }),
              5 * bytes);
  return wide;
}

void measure_inverse(const ops::Context& context, const ops::ObsState& damped) {
  using ops::cuda::InverseWay;
  ops::cuda::Resources& gpu = context.cuda();
  const std::int64_t n = damped.columns;
  const double third = std::pow(static_cast<double>(n), 3) / 3;
  const OwnedTensor work = on_gpu({n, n});
  const auto renew = [&] {
    copy_bytes(work->data, Device::cuda, damped.inverse->data, Device::cuda, work->bytes());
  };
  const auto factor = [&] {
    if (!ops::cuda::factor_lower(gpu, work->floats(), n))
      throw NumericalError("the Hessian is not positive definite", "benchmark", "report this as a defect");
  };
  say_work("potrf", better_of_two(renew, factor), third);
  const auto prepare = [&] {
    renew();
    factor();
  };
  for (const auto& [name, way] : {std::pair{"potri", InverseWay::potri},
                                  {"trtri of the library, then products", InverseWay::product},
                                  {"trtri by products, then products", InverseWay::blocked}}) {
    const double seconds =
        better_of_two(prepare, [&] { ops::cuda::invert_factor(gpu, work->floats(), n, way); });
    say_work(fmt::format("after it: {}{}", name, way == ops::cuda::inverse_way ? " (taken)" : ""), seconds,
             2 * third);
  }
  say_work("of the last: trtri by products",
           better_of_two(prepare, [&] { ops::cuda::invert_lower(gpu, work->floats(), n); }), third);
  say_work("of the last: the square",
           better_of_two([] {}, [&] { ops::cuda::square_lower(gpu, work->floats(), n); }), third);
}

/// A block of 128 removals at the full size, and the parts of it that can be run alone.
void measure_block(const ops::Context& context, const ops::ObsState& inverted) {
  ops::cuda::Resources& gpu = context.cuda();
  constexpr std::int64_t width = 128, candidates = width + width / 2;
  const std::int64_t n = inverted.columns, left = n - width, rows = inverted.rows;
  std::vector<std::int64_t> removed;
  std::vector<double> scores, followed;
  ops::ObsState state;
  const double whole =
      better_of_two([&] { state = state_of(inverted.weight, inverted.inverse); },
                    [&] { ops::obs_remove_columns(context, state, width, removed, scores, followed); });
  say("a block of 128 removals at the full size", whole);

  state = state_of(inverted.weight, inverted.inverse);
  const OwnedTensor products = on_gpu({candidates, n});
  const auto nothing = [] {};
  const double product = better_of_two(nothing, [&] {
    ops::cuda::gemm(gpu, false, true, candidates, n, rows, 1.0f, state.weight->data, rows, state.weight->data,
                    rows, DType::f32, 0.0f, products->floats(), n);
  });
  std::vector<std::int32_t> kept(static_cast<std::size_t>(left));
  std::iota(kept.begin(), kept.end(), static_cast<std::int32_t>(width));
  const auto positions = gpu.upload(std::span<const std::int32_t>(kept));
  const std::vector<int> fine(1, 0);
  const auto failed = gpu.upload(std::span<const int>(fine));
  ops::cuda::ObsSpare spare(state);
  const double keeping = better_of_two(
      [&] { state.columns = n; },
      [&] { ops::cuda::keep_columns(gpu, state, spare, positions.data(), left, failed.data()); });
  const OwnedTensor factors = on_gpu({width, left}), u = on_gpu({width, rows});
  fill_zero(factors);
  fill_zero(u);
  const double weight = better_of_two(nothing, [&] {
    ops::cuda::gemm(gpu, true, false, left, rows, width, -1.0f, factors->data, left, u->data, rows,
                    DType::f32, 1.0f, state.weight->floats(), rows);
  });
  const double matrix = better_of_two(nothing, [&] {
    ops::cuda::add_lower_gram(gpu, left, width, -1.0f, factors->data, DType::f32, state.inverse->floats());
  });
  const auto count = [](std::int64_t value) { return static_cast<double>(value); };
  say_work("of it: products of the candidates", product, 2 * count(candidates) * count(n) * count(rows));
  say_traffic("of it: dropping columns", keeping,
              4 * (count(left) * count(left) + 2 * count(left) * count(rows)));
  say_work("of it: W - U C^T", weight, 2 * count(left) * count(rows) * count(width));
  say_work("of it: M - C C^T", matrix, count(left) * count(left) * count(width));
  const double rest = whole - product - keeping - weight - matrix;
  fmt::print("  {:<58} {:9.3f} ms {:8.2f} us a removal\n", "of it: the rest, nearly all of it 128 removals",
             rest * 1e3, rest / width * 1e6);
}

void measure_columns(const ops::Context& context, const ops::ObsState& inverted) {
  double total = 0;
  std::string by_level;
  for (int run = 0; run < 2; ++run) {
    ops::ObsState state = state_of(inverted.weight, inverted.inverse);
    std::vector<std::int64_t> removed;
    std::vector<double> scores, followed;
    total = 0;
    by_level.clear();
    for (std::int64_t k = 1; k <= levels; ++k) {
      const std::int64_t count = inverted.columns * k / levels - static_cast<std::int64_t>(removed.size());
      const double seconds =
          seconds_of([&] { ops::obs_remove_columns(context, state, count, removed, scores, followed); });
      total += seconds;
      by_level += fmt::format(" {:.1f}", seconds * 1e3);
    }
  }
  say("removals, all levels", total);
  fmt::print("    by level, ms:{}\n", by_level);
}

void measure_structures(const ops::Context& context, const Module& module, const ops::ObsState& inverted) {
  std::vector<double> scores, followed;
  say("scores of all structures",
      better_of_two([] {}, [&] { ops::obs_structure_scores(context, inverted, module.unit, scores); }));
  ops::ObsState state;
  say("removal of the first structure",
      better_of_two([&] { state = state_of(inverted.weight, inverted.inverse); },
                    [&] { ops::obs_remove_structure(context, state, module.unit, 0, followed); }));
}

void measure_levels(const ops::Context& context, const Module& module, const Tensor& weight) {
  const std::int64_t kept = module.columns - module.columns / levels / module.unit * module.unit;
  const Tensor wide = weight.slice(0, kept);
  const OwnedTensor narrow = on_gpu(wide.shape, stored_type);
  StagingBuffer staging;
  const auto staged = staging.reserve(narrow->bytes(), Device::cuda, "benchmark");
  const auto bytes = static_cast<double>(narrow->bytes());
  const auto nothing = [] {};
  say_traffic("the first level: rounding",
              better_of_two(nothing, [&] { ops::convert(context, wide, narrow); }), 3 * bytes);
  say_traffic(
      "the first level: download",
      better_of_two(
          nothing,
          [&] { copy_bytes(staged.data(), Device::cpu, narrow->data, Device::cuda, narrow->bytes()); }),
      bytes);
  std::uint64_t hash = 0;
  say_traffic("the first level: checksum (on the writing thread)",
              better_of_two(nothing, [&] { hash ^= Hash64().add(staged).value(); }), bytes);
}

/// Two modules one after the other as a database prunes them; the second is as all but a run's first are.
void measure_database(const ops::Context& context, const Module& module, const Checkpoint& checkpoint,
                      const Tensor& hessian, const std::filesystem::path& path) {
  const HfConfig config = module.config();
  ModuleWeights weights(context, checkpoint, config);
  const std::size_t level_bytes =
      static_cast<std::size_t>(module.rows * module.columns) * size_of(stored_type);
  StagedWriter writer(std::make_unique<WriteBehind>(FileDescriptor(path, O_RDWR | O_CREAT | O_TRUNC), 0),
                      level_bytes);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    ObsProblem problem = problem_of(module, on_gpu({1, 1}), hessian);  // the Hessian is there already
    synchronise(Device::cuda);
    const Stopwatch watch;
    problem.weight = weights.transposed(module.id(layer));
    if (layer == 0) weights.read_ahead(module.id(1));
    const double loaded = watch.seconds();
    double out = 0;
    std::uint64_t place = 0;
    structured_obs(context, problem, [&](std::int64_t, std::span<const std::int64_t>, const Tensor& pruned) {
      const Stopwatch writing;
      if (pruned.empty()) return;
      const OwnedTensor rounded = on_gpu(pruned.shape, stored_type);
      ops::convert(context, pruned, rounded);
      writer.write(rounded, place, place + rounded->bytes());
      place += rounded->bytes() + sizeof(std::uint64_t);
      out += writing.seconds();
    });
    synchronise(Device::cuda);
    const double pruned = watch.seconds();
    if (layer == 1) {
      say("in all: the module, as the database prunes it", pruned);
      say("of it: waiting for its weight", loaded);
      say("of it: handing over levels, and waiting for the file", out);
    }
    writer.thread().drain();
    if (layer == 1) say("from there until the file has all of it", watch.seconds() - pruned);
  }
}

void measure(const ops::Context& context, const Module& module, const std::filesystem::path& folder) {
  fmt::print("{}\n", module.name());
  write_checkpoint(folder / "model.safetensors", module);
  const Checkpoint checkpoint(folder);
  const OwnedTensor weight = measure_weight(context, module, checkpoint);
  const OwnedTensor hessian = random_hessian(context, module.columns);
  ops::ObsState state;
  say("damping", better_of_two([&] { state = state_of(weight, hessian); },
                               [&] { ops::obs_damp(context, state, 1e-2); }));
  measure_inverse(context, state);
  if (!ops::invert_spd(context, state.inverse, false))
    throw NumericalError("the Hessian has no inverse", module.name(), "report this as a defect");
  if (module.unit == 1) {
    measure_block(context, state);
    measure_columns(context, state);
  } else {
    measure_structures(context, module, state);
  }
  state = {};
  measure_levels(context, module, weight);
  const ObsProblem problem = problem_of(module, weight, hessian);
  const auto ignore = [](std::int64_t, std::span<const std::int64_t>, const Tensor&) {};
  say("OBS to ten levels, with nothing written",
      better_of_two([] {}, [&] { structured_obs(context, problem, ignore); }));
  measure_database(context, module, checkpoint, hessian, folder / "levels");
}

}  // namespace

int main() {
  try {
    const std::vector<Gpu> gpus = visible_gpus();
    if (gpus.empty())
      throw ResourceError("no GPU is visible", "bench_database_gpu", "run it on a machine with one");
    const ops::Context context(Device::cuda, 0, DType::bf16);
    fmt::print("{}; files in {}\n", gpus.front().name, std::filesystem::temp_directory_path().string());
    for (const Module& module : {Module{ModuleKind::ffn, 4096, 11008, 1},
                                 {ModuleKind::ffn, 5120, 13824, 1},
                                 {ModuleKind::attention, 5120, 5120, 128}}) {
      const test::TemporaryFolder folder;
      measure(context, module, folder.path());
    }
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_database_gpu: error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
