// A training step on one GPU, by its parts: layers forward and back, output head, AdamW; four layers of
// published shapes with random weights, whole and with half of every layer. What is said to be computed is
// not measured: a step of the whole model, from its number of layers.
//   bench_training_gpu [repeats = 3]
#include "measuring.hpp"
#include "ops/cuda/resources.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <vector>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/cost.hpp>
#include <galapagos/model/training_pass.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/ops/tuning.hpp>
#include <galapagos/tensor/gpu.hpp>
#include <galapagos/training/optimiser.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t measured_layers = 4, longest_sequence = 2048;
constexpr double tera = 1e12, giga = 1e9;

double seconds_of(const std::function<void()>& work, int runs) {
  return bench::median_seconds(Device::cuda, work, runs);
}

/// Evenly distributed values around `mean`; a block of them again and again, as the host would need minutes.
class RandomTensors {
 public:
  RandomTensors()
      : wide_(block(0.02f, 0, DType::f32)),
        narrow_(block(0.02f, 0, DType::bf16)),
        ones_(block(0.1f, 1, DType::f32)) {}

  OwnedTensor matrix(std::int64_t rows, std::int64_t columns) const {
    return filled({rows, columns}, narrow_);
  }
  OwnedTensor norm(std::int64_t width) const { return filled({width}, ones_); }
  OwnedTensor bias(std::int64_t width) const { return filled({width}, wide_); }
  OwnedTensor states(std::int64_t rows, std::int64_t columns) const { return filled({rows, columns}, wide_); }

 private:
  static OwnedTensor block(float scale, float mean, DType type) {
    constexpr std::int64_t count = (1 << 22) + 4096 + 64;  // no multiple of a row
    std::vector<float> values = bench::random_values(count, scale, 1);
    for (float& value : values) value += mean;
    const OwnedTensor host({count}, type, Device::cpu, "benchmark");
    convert_from_float(values, type, host->data);
    return copy_of(host, Device::cuda, "benchmark");
  }

  static OwnedTensor filled(Shape shape, const Tensor& from) {
    OwnedTensor tensor(shape, from.dtype, Device::cuda, "benchmark");
    for (std::size_t at = 0; at < tensor->bytes(); at += from.bytes()) {
      copy_bytes(tensor->data + at, Device::cuda, from.data, Device::cuda,
                 std::min(from.bytes(), tensor->bytes() - at));
    }
    return tensor;
  }

  OwnedTensor wide_, narrow_, ones_;
};

/// Operations per second of a product of bf16 matrices with a bf16 result.
double peak_rate(const ops::Context& context, const RandomTensors& random, int runs) {
  constexpr int n = 8192;
  const OwnedTensor a = random.matrix(n, n), b = random.matrix(n, n), c = random.matrix(n, n);
  const float one = 1, zero = 0;
  const double seconds = seconds_of(
      [&] {
        ops::cuda::check_blas(cublasGemmEx(context.cuda().blas(), CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one,
                                           a->data, CUDA_R_16BF, n, b->data, CUDA_R_16BF, n, &zero, c->data,
                                           CUDA_R_16BF, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                              "cublasGemmEx");
      },
      2 * runs + 1);
  return 2.0 * n * n * n / seconds;
}

/// Bytes per second that a copy within the GPU's memory reads and writes.
double copy_rate(const RandomTensors& random, int runs) {
  const OwnedTensor from = random.states(1 << 14, 1 << 14), to = random.states(1 << 14, 1 << 14);
  const double seconds = seconds_of(
      [&] { copy_bytes(to->data, Device::cuda, from->data, Device::cuda, from->bytes()); }, 2 * runs + 1);
  return 2.0 * static_cast<double>(from->bytes()) / seconds;
}

struct Published {
  const char* name;
  std::int64_t hidden, columns, heads, kv_heads, vocabulary, layers;
  bool bias;
};

HfConfig config_of(const Published& model, bool halved, std::int64_t layers = measured_layers) {
  const std::int64_t part = halved ? 2 : 1;
  HfConfig config;
  config.model_type = model.bias ? "qwen2" : "llama";
  config.hidden_size = model.hidden;
  config.intermediate_size = model.columns;
  config.layers = layers;
  config.heads = model.heads;
  config.kv_heads = model.kv_heads;
  config.head_dim = 128;
  config.vocab_size = model.vocabulary;
  config.max_position_embeddings = 4096;
  config.rms_norm_eps = 1e-5;
  config.rope.theta = 1e4;
  config.features.qkv_bias = model.bias;
  config.layer_shapes.assign(
      static_cast<std::size_t>(layers),
      even_layer_shape(model.heads / part, model.kv_heads / part, model.columns / part));
  return config;
}

ModelWeights random_weights(const HfConfig& config, const RandomTensors& random) {
  ModelWeights weights;
  const std::int64_t hidden = config.hidden_size;
  for (const LayerShape& shape : config.layer_shapes) {
    const std::int64_t q = shape.heads() * config.head_dim, kv = shape.kv_heads * config.head_dim;
    LayerWeights layer;
    AttentionWeights& attention = layer.attention;
    attention.kv_heads = shape.kv_heads;
    attention.kv_of_head = shape.kv_of_head;
    attention.norm = random.norm(hidden);
    attention.q = random.matrix(q, hidden);
    attention.k = random.matrix(kv, hidden);
    attention.v = random.matrix(kv, hidden);
    attention.o = random.matrix(hidden, q);
    if (config.features.qkv_bias) {
      attention.q_bias = random.bias(q);
      attention.k_bias = random.bias(kv);
      attention.v_bias = random.bias(kv);
    }
    layer.ffn.columns = shape.columns;
    layer.ffn.norm = random.norm(hidden);
    layer.ffn.gate = random.matrix(shape.columns, hidden);
    layer.ffn.up = random.matrix(shape.columns, hidden);
    layer.ffn.down = random.matrix(hidden, shape.columns);
    weights.layers.push_back(std::move(layer));
  }
  weights.embedding = random.matrix(config.vocab_size, hidden);
  weights.norm = random.norm(hidden);
  weights.head = random.matrix(config.vocab_size, hidden);
  return weights;
}

/// Operations of a token that the definition of the gradients asks for: forward and twice that back.
struct TokenWork {
  double layers = 0, head = 0;
};

TokenWork work_of(const HfConfig& config, std::int64_t sequence) {
  TokenWork work;
  work.head = 6 * static_cast<double>(config.vocab_size * config.hidden_size);
  for (const LayerShape& shape : config.layer_shapes) {
    const std::int64_t heads = 2 * shape.heads() + 2 * shape.kv_heads;
    const std::int64_t weights = config.hidden_size * (heads * config.head_dim + 3 * shape.columns);
    // Half of the keys of a sequence, times a query and once more a value.
    const std::int64_t scores = shape.heads() * config.head_dim * sequence;
    work.layers += 6 * static_cast<double>(weights + scores);
  }
  return work;
}

struct Report {
  double peak, bandwidth;

  void work(const std::string& name, double operations, double seconds) const {
    fmt::print("{:<52} {:9.3f} ms {:8.1f} TFLOP/s {:6.1f} % of the peak\n", name, seconds * 1e3,
               operations / seconds / tera, 100 * operations / seconds / peak);
  }
  void traffic(const std::string& name, double bytes, double seconds) const {
    fmt::print("{:<52} {:9.3f} ms {:8.1f} GB/s    {:6.1f} % of a copy\n", name, seconds * 1e3,
               bytes / seconds / giga, 100 * bytes / seconds / bandwidth);
  }
};

/// The head alone: as TrainingPass goes about it, from the last hidden states to the gradient by them.
double head_seconds(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
                    const Gradients& gradients, const RandomTensors& random,
                    std::span<const std::int32_t> targets, int runs) {
  const auto tokens = static_cast<std::int64_t>(targets.size());
  OutputPass pass(context, config, tokens);
  LogitLosses losses(context, alone(), ops::logit_tile(Device::cuda, tokens), config.vocab_size, false);
  const OwnedTensor hidden = random.states(tokens, config.hidden_size),
                    d_hidden = random.states(tokens, config.hidden_size);
  const std::vector<float> each(targets.size(), 1.0f / static_cast<float>(tokens));
  std::vector<double> found;
  const auto loss = [&](std::int64_t first, const Tensor& logits) {
    const auto at = static_cast<std::size_t>(first), some = static_cast<std::size_t>(logits.rows());
    found.resize(some);
    losses.nll(logits, targets.subspan(at, some), found);
    losses.nll_backward(targets.subspan(at, some), std::span(each).subspan(at, some), logits);
    return found.front();
  };
  return seconds_of(
      [&] {
        pass.run(weights.norm, weights.output(), hidden, d_hidden, loss,
                 {gradients.norm(), gradients.output()});
      },
      runs);
}

Batch batch_of(std::vector<std::int32_t>& ids, std::int64_t tokens, std::int64_t vocabulary) {
  ids.clear();
  for (std::int64_t i = 0; i < tokens; ++i) ids.push_back(static_cast<std::int32_t>(i * 7919 % vocabulary));
  Batch batch{ids, {0}};
  while (batch.offsets.back() < tokens)
    batch.offsets.push_back(batch.offsets.back() + std::min(tokens, longest_sequence));
  return batch;
}

/// Whole updates of a whole model of half the size, as recovery makes them: batches of gradients, the norm,
/// AdamW. Layers are recomputed on the way back, which is not counted as work.
void measure_updates(const ops::Context& context, const Report& report, const RandomTensors& random,
                     const Published& model, int runs) {
  const HfConfig config = config_of(model, true, model.layers);
  const ModelWeights weights = random_weights(config, random);
  const Gradients gradients(weights, Device::cuda);
  const std::int64_t parameters = gradients.all().elements();
  fmt::print("half of {}, all {} layers, {} parameters: whole updates\n", model.name, model.layers,
             human_count(static_cast<std::uint64_t>(parameters)));
  const auto itself = make_mpi_collectives(Communicator::self());
  ShardedAdamW optimiser(*itself, context, weights, DType::bf16, {});
  std::vector<std::int32_t> ids;
  for (const std::int64_t tokens : {2048, 4096}) {
    const Batch batch = batch_of(ids, tokens, config.vocab_size);
    TrainingPass pass(context, config, tokens, true);
    const TokenWork work = work_of(config, std::min(tokens, longest_sequence));
    for (const std::int64_t batches : {1, 4, 8}) {
      const auto count = static_cast<double>(tokens * batches);
      const double seconds = seconds_of(
          [&] {
            for (std::int64_t i = 0; i < batches; ++i)
              pass.run(weights, batch, 1 / static_cast<float>(count), {}, gradients);
            optimiser.step(gradients, 1e-5, 1);
          },
          runs);
      report.work(
          fmt::format("  an update of {} x {} tokens, {:.0f} tokens/s", batches, tokens, count / seconds),
          count * (work.layers + work.head), seconds);
    }
    std::fflush(stdout);
  }
}

void measure(const ops::Context& context, const Report& report, const RandomTensors& random,
             const Published& model, bool halved, int runs) {
  const HfConfig config = config_of(model, halved);
  const ModelWeights weights = random_weights(config, random);
  const Gradients gradients(weights, Device::cuda);
  const std::int64_t parameters = gradients.all().elements();
  const double ends = static_cast<double>(embedding_parameters(config) + head_parameters(config));
  const double layers_of_model = static_cast<double>(model.layers) / static_cast<double>(measured_layers);
  const double whole = ends + (static_cast<double>(parameters) - ends) * layers_of_model;
  const std::string name = fmt::format("{}{}", halved ? "half of " : "", model.name);
  fmt::print("{}, {} layers, {} parameters\n", name, measured_layers,
             human_count(static_cast<std::uint64_t>(parameters)));

  double update = 0;
  {
    const auto itself = make_mpi_collectives(Communicator::self());
    ShardedAdamW optimiser(*itself, context, weights, DType::bf16, {});
    const double bytes = ShardedAdamW::streamed(parameters, 1, DType::bf16);
    // A first gradient, so that what is timed are no steps from zero to zero.
    const Tensor all = gradients.all().view({parameters});
    const OwnedTensor some = random.states(1, std::min(parameters, std::int64_t{1} << 22));
    for (std::int64_t at = 0; at < parameters; at += some->elements()) {
      const std::int64_t count = std::min(some->elements(), parameters - at);
      copy_values(some->view({some->elements()}).slice(0, count), all.slice(at, count));
    }
    update = seconds_of([&] { optimiser.step(gradients, 1e-5, 1); }, runs);
    report.traffic("  AdamW with the gradient's norm", bytes, update);
    report.traffic("  AdamW without it", bytes - 4.0 * static_cast<double>(parameters),
                   seconds_of([&] { optimiser.step_unclipped(gradients, 1e-5); }, runs));
  }
  for (const std::int64_t tokens : {512, 2048, 4096}) {
    const std::int64_t sequence = std::min(tokens, longest_sequence);
    std::vector<std::int32_t> ids;
    const Batch batch = batch_of(ids, tokens, config.vocab_size);
    double all = 0;
    {
      TrainingPass pass(context, config, tokens, false);
      all = seconds_of([&] { pass.run(weights, batch, 1.0f / static_cast<float>(tokens), {}, gradients); },
                       runs);
    }
    const double head = head_seconds(context, config, weights, gradients, random, ids, runs);
    const TokenWork work = work_of(config, sequence);
    const auto count = static_cast<double>(tokens);
    const std::string of = fmt::format("{} tokens", tokens);
    report.work("  forward and backward, " + of, count * (work.layers + work.head), all);
    report.work("    of it the layers and the embedding", count * work.layers, all - head);
    report.work("    of it the head, measured alone", count * work.head, head);
    fmt::print("{:<52} {:9.3f} ms {:8.0f} tokens/s\n", "    with AdamW", (all + update) * 1e3,
               count / (all + update));
    const double step =
        (all - head) * layers_of_model + head + update * whole / static_cast<double>(parameters);
    const double operations = count * (work.layers * layers_of_model + work.head);
    fmt::print("{:<52} {:9.3f} ms {:8.0f} tokens/s {:6.1f} % of the peak\n",
               fmt::format("    computed: a step of all {} layers", model.layers), step * 1e3, count / step,
               100 * operations / step / report.peak);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const MpiEnvironment environment(argc, argv);
  try {
    const int runs = argc > 1 ? std::max(std::atoi(argv[1]), 1) : 3;
    const std::vector<Gpu> gpus = visible_gpus();
    if (gpus.empty())
      throw ResourceError("no GPU is visible", "bench_training_gpu", "run it on a machine with one");
    const Stopwatch watch;
    const ops::Context context(Device::cuda, 0, DType::bf16);
    const RandomTensors random;
    const Report report{peak_rate(context, random, runs), copy_rate(random, runs)};
    fmt::print("{}: bf16 products {:.0f} TFLOP/s, copies {:.0f} GB/s; the median of {} runs\n",
               gpus.front().name, report.peak / tera, report.bandwidth / giga, runs);
    const std::vector<Published> models = {{"Llama-2-7B", 4096, 11008, 32, 32, 32000, 32, false},
                                           {"Qwen2.5-14B", 5120, 13824, 40, 8, 152064, 48, true}};
    for (const Published& model : models) {
      for (const bool halved : {false, true}) measure(context, report, random, model, halved, runs);
    }
    measure_updates(context, report, random, models.front(), runs);
    fmt::print("all in {:.1f} s\n", watch.seconds());
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_training_gpu: error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
