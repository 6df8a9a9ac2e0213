// Training of a small Llama: tokens per second, as a share of what this machine's matrix products reach, with
// all activations kept and with activation checkpointing, on one thread and on all; and the measured peak of
// memory against the plan.
//   bench_training [tokens of an update = 1024] [repeats = 3]
#include "synthetic_search_model.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <malloc.h>
#include <omp.h>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/optimiser.hpp>
#include <galapagos/training/random_weights.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t sequence_length = 512;

/// A line of /proc/self/status, in bytes; 0 where there is none.
std::uint64_t memory_line(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

/// Memory that is touched from here on, at its peak; Linux resets the peak where it is asked to.
class PeakMemory {
 public:
  PeakMemory() {
    malloc_trim(0);  // what was freed is not to be had for nothing
    std::ofstream reset("/proc/self/clear_refs");
    reset << "5" << std::flush;
    before_ = memory_line("VmRSS");
  }
  std::uint64_t bytes() const { return memory_line("VmHWM") - before_; }

 private:
  std::uint64_t before_ = 0;
};

/// Floating point operations of an fp32 matrix product per second: the best of several large ones.
double product_rate(int repeats) {
  constexpr std::int64_t n = 2048;
  const ops::Context context;
  const auto matrix = [&](float value) {
    OwnedTensor tensor({n, n}, DType::f32, Device::cpu, "benchmark");
    std::fill_n(tensor->floats(), n * n, value);
    return tensor;
  };
  const OwnedTensor x = matrix(0.5f), weight = matrix(0.25f), y = matrix(0);
  double least = INFINITY;
  for (int i = 0; i < 3 * repeats; ++i) {
    const Stopwatch watch;
    ops::linear(context, x, weight, nullptr, y);
    least = std::min(least, watch.seconds());
  }
  return 2.0 * n * n * n / least;
}

/// Operations that the definition of the gradients asks for, for one token: forward and twice that back,
/// without what is computed again.
double operations_per_token(const HfConfig& config) {
  double weights = static_cast<double>(config.vocab_size * config.hidden_size);
  double scores = 0;
  for (const LayerShape& shape : config.layer_shapes) {
    const std::int64_t heads = 2 * shape.heads() + 2 * shape.kv_heads;
    weights += static_cast<double>(config.hidden_size * (heads * config.head_dim + 3 * shape.columns));
    // Half of the keys of a sequence, times a query and once more a value.
    scores += static_cast<double>(shape.heads() * config.head_dim * sequence_length);
  }
  return 6 * (weights + scores);
}

struct Measured {
  double gradients = INFINITY, update = INFINITY;  // least seconds
  std::uint64_t peak = 0, planned = 0;
};

Measured measure(const Communicator& comm, const HfConfig& config, std::int64_t tokens, bool recompute,
                 int repeats) {
  const ops::Context context;
  Measured measured;
  const TokenSet data = bench::random_tokens(config.vocab_size, tokens, sequence_length, 2);
  const ModelSource source = random_source(config, DType::bf16, Device::cpu, 1);
  const PeakMemory memory;
  const ModelWeights weights = load_model_weights(source);
  const Gradients gradients(weights, Device::cpu);
  const auto replicas = make_mpi_collectives(comm);
  ShardedAdamW optimiser(*replicas, context, weights, DType::bf16, AdamWOptions());
  TrainingPass pass(context, config, tokens, recompute);
  const std::int64_t parameters = gradients.all().elements();
  const auto predicted = static_cast<float>(data.tokens.size() - data.sequences());
  for (int i = 0; i < repeats; ++i) {
    const Stopwatch watch;
    add_gradients(pass, weights, data, tokens, 1 / predicted, nullptr, gradients);
    const double seconds = watch.seconds();
    optimiser.step(gradients, 1e-4, 1);
    measured.gradients = std::min(measured.gradients, seconds);
    measured.update = std::min(measured.update, watch.seconds() - seconds);
  }
  measured.peak = memory.bytes();
  measured.planned = static_cast<std::uint64_t>(parameters) * (sizeof(float) + size_of(DType::bf16)) +
                     ShardedAdamW::bytes(parameters, comm.size()) +
                     TrainingPass::bytes(config, tokens, recompute, Device::cpu);
  return measured;
}

}  // namespace

int main(int argc, char** argv) {
  const MpiEnvironment environment(argc, argv);
  const std::int64_t tokens = argc > 1 ? std::atoll(argv[1]) : 1024;
  const int repeats = argc > 2 ? std::atoi(argv[2]) : 3, all = omp_get_max_threads();
  const Communicator comm = Communicator::self();
  const HfConfig config = parse_hf_config(bench::synthetic_llama_config(), "synthetic model");
  fmt::print(
      "a Llama of {} million parameters in bf16, updates of {} tokens in sequences of {}; least of {}\n",
      (parameters_in_layers(config) + embedding_parameters(config) + head_parameters(config)) / 1000000,
      tokens, sequence_length, repeats);
  fmt::print("{:>7} {:>10} {:>10} {:>10} {:>9} {:>9} {:>7} {:>10} {:>10}\n", "threads", "recompute",
             "gradient s", "AdamW s", "tokens/s", "product", "share", "peak", "planned");
  for (int threads = 1; threads <= all; threads *= 2) {
    omp_set_num_threads(threads);
    for (const bool recompute : {false, true}) {
      const double before = product_rate(repeats);
      const Measured measured = measure(comm, config, tokens, recompute, repeats);
      const double rate = std::max(before, product_rate(repeats));
      const double speed = static_cast<double>(tokens) / (measured.gradients + measured.update);
      fmt::print("{:>7} {:>10} {:>10.2f} {:>10.3f} {:>9.0f} {:>9.1f} {:>6.0f}% {:>10} {:>10}\n", threads,
                 recompute ? "yes" : "no", measured.gradients, measured.update, speed, rate / 1e9,
                 100 * speed * operations_per_token(config) / rate, human_bytes(measured.peak),
                 human_bytes(measured.planned));
      std::fflush(stdout);
    }
  }
  fmt::print(
      "product: GFLOP/s of an fp32 matrix product; share: of that, by the operations of the definition\n");
}
