// What the operations reach on a GPU, as shares of the rates measured in the same run: the bf16 matrix
// product of cuBLAS, and a copy within the GPU's memory. Random weights of published shapes.
//   bench_gpu [layers of Llama-2-7B = 32]
#include "measuring.hpp"
#include "ops/cuda/products.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/obs.hpp>
#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/tensor/gpu.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t tokens = 4096, sequence = 2048;
constexpr double tera = 1e12;

double seconds_of(const std::function<void()>& work, int runs = 7) {
  return bench::median_seconds(Device::cuda, work, runs);
}

/// Evenly distributed values of standard deviation `scale`, a million different ones again and again: more
/// would take minutes.
OwnedTensor random_tensor(Shape shape, DType type, float scale, std::uint64_t seed) {
  const auto count = static_cast<std::size_t>(shape.elements());
  constexpr std::size_t different = 1000003;  // a prime, so that no two rows are alike
  std::vector<float> values = bench::random_values(std::min(different, count), scale, seed);
  values.resize(count);
  for (std::size_t i = different; i < values.size(); ++i) values[i] = values[i - different];
  const OwnedTensor host(shape, type, Device::cpu, "benchmark");
  convert_from_float(values, type, host->data);
  OwnedTensor there(shape, type, Device::cuda, "benchmark");
  copy_bytes(there->data, Device::cuda, host->data, Device::cpu, host->bytes());
  return there;
}

OwnedTensor empty_tensor(Shape shape, DType type = DType::f32) {
  return {shape, type, Device::cuda, "benchmark"};
}

/// y [m, n] = x [m, k] w^T in bf16 by cuBLAS alone, whatever the operations make of it.
void multiply(const ops::Context& context, const Tensor& x, const Tensor& w, const Tensor& y) {
  const float one = 1, zero = 0;
  const auto m = static_cast<int>(x.rows()), n = static_cast<int>(w.rows()),
             k = static_cast<int>(x.columns());
  ops::cuda::check_blas(
      cublasGemmEx(context.cuda().blas(), CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, w.data, CUDA_R_16BF, k,
                   x.data, CUDA_R_16BF, k, &zero, y.data, y.dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F,
                   n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      "cublasGemmEx");
}

/// The rate of a large product with bf16 output: what the other rates are shares of.
double peak_rate(const ops::Context& context) {
  constexpr std::int64_t n = 8192;
  const OwnedTensor a = random_tensor({n, n}, DType::bf16, 1, 1),
                    b = random_tensor({n, n}, DType::bf16, 1, 2), c = empty_tensor({n, n}, DType::bf16);
  return 2.0 * n * n * n / seconds_of([&] { multiply(context, a, b, c); });
}

double copy_rate() {
  const OwnedTensor from = random_tensor({1 << 26}, DType::f32, 1, 3), to = empty_tensor({1 << 26});
  const double seconds =
      seconds_of([&] { copy_bytes(to->data, Device::cuda, from->data, Device::cuda, from->bytes()); });
  return 2.0 * static_cast<double>(from->bytes()) / seconds;
}

struct Report {
  double peak, bandwidth;

  void work(const std::string& name, double operations, double seconds) const {
    fmt::print("{:<46} {:9.3f} ms {:8.1f} TFLOP/s {:6.1f} % of the peak\n", name, seconds * 1e3,
               operations / seconds / tera, 100 * operations / seconds / peak);
  }
  void traffic(const std::string& name, double bytes, double seconds) const {
    fmt::print("{:<46} {:9.3f} ms {:8.1f} GB/s    {:6.1f} % of a copy\n", name, seconds * 1e3,
               bytes / seconds / 1e9, 100 * bytes / seconds / bandwidth);
  }
};

/// Products alone, of shapes between which a program can choose.
void measure_shapes(const ops::Context& context, const Report& report) {
  const auto product = [&](const std::string& name, std::int64_t m, std::int64_t k, std::int64_t n,
                           DType out = DType::bf16) {
    const OwnedTensor x = random_tensor({m, k}, DType::bf16, 1, 50),
                      w = random_tensor({n, k}, DType::bf16, 0.02f, 51), y = empty_tensor({m, n}, out);
    report.work(fmt::format("{} [{} x {}] x {}{}", name, m, k, n, out == DType::f32 ? ", fp32 out" : ""),
                2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
                seconds_of([&] { multiply(context, x, w, y); }, 15));
  };
  product("product", 4096, 4096, 11008, DType::f32);
  product("product", 4096, 4096, 11008);
  product("gate and up in one,", 4096, 4096, 22016);
  product("a query product", 4096, 4096, 4096);
  product("q, k and v in one,", 4096, 4096, 12288);
  product("a key product of GQA", 4096, 4096, 1024);
  product("q, k and v of GQA in one,", 4096, 4096, 6144);
  for (const std::int64_t width : {5503, 5504, 5536}) {
    product("pruned gate", 4096, 4096, width);
    product("pruned down", 4096, width, 4096, DType::f32);
  }
  for (const std::int64_t rows : {128, 256, 512, 1024, 2048})
    product("output head", rows, 4096, 32000, DType::f32);
  for (const std::int64_t rows : {128, 1024}) product("output head", rows, 5120, 152064, DType::f32);
}

void measure_products(const ops::Context& context, const Report& report) {
  const std::int64_t in = 4096, out = 11008;
  const OwnedTensor x = random_tensor({tokens, in}, DType::f32, 1, 4),
                    d_y = random_tensor({tokens, out}, DType::f32, 1, 5),
                    w = random_tensor({out, in}, DType::bf16, 0.02f, 6);
  const OwnedTensor y = empty_tensor({tokens, out}), d_x = empty_tensor({tokens, in}),
                    d_w = empty_tensor({out, in});
  fill_zero(d_w);
  const double operations = 2.0 * tokens * in * out;
  report.work("linear, 4096 tokens, 4096 -> 11008", operations,
              seconds_of([&] { ops::linear(context, x, w, nullptr, y); }));
  report.work("its gradient by the input", operations,
              seconds_of([&] { ops::linear_input_gradient(context, d_y, w, d_x); }));
  report.work("its gradient by the weight", operations,
              seconds_of([&] { ops::linear_weight_gradient(context, d_y, x, d_w); }));
  for (const std::int64_t n : {5120, 13824}) {
    const OwnedTensor input = random_tensor({tokens, n}, DType::f32, 1, 7), h = empty_tensor({n, n});
    fill_zero(h);
    report.work(fmt::format("Hessian of {} columns, 4096 tokens", n),
                static_cast<double>(tokens) * n * (n + 1),
                seconds_of([&] { ops::accumulate_gram(context, input, 1e-3f, h); }));
  }
}

void measure_attention(const ops::Context& context, const Report& report) {
  const std::int64_t head_dim = 128;
  const std::vector<std::int64_t> offsets = {0, sequence, tokens};
  for (const std::int64_t kv_heads : {32, 8}) {
    std::vector<std::int32_t> kv_of_head;
    for (std::int64_t head = 0; head < 32; ++head)
      kv_of_head.push_back(static_cast<std::int32_t>(head * kv_heads / 32));
    const Shape q_shape{tokens, 32 * head_dim}, kv_shape{tokens, kv_heads * head_dim};
    const OwnedTensor q = random_tensor(q_shape, DType::f32, 1, 8),
                      k = random_tensor(kv_shape, DType::f32, 1, 9),
                      v = random_tensor(kv_shape, DType::f32, 1, 10),
                      g = random_tensor(q_shape, DType::f32, 1, 11);
    const OwnedTensor out = empty_tensor(q_shape), log_sums = empty_tensor({tokens, 32}),
                      d_q = empty_tensor(q_shape), d_k = empty_tensor(kv_shape), d_v = empty_tensor(kv_shape);
    const double operations = 2.0 * 2 * 32 * head_dim * 2 * (static_cast<double>(sequence) * sequence / 2);
    report.work(
        fmt::format("attention, 32 heads, {} KV heads, 2 x 2048", kv_heads), operations,
        seconds_of([&] { ops::attention(context, q, k, v, head_dim, kv_of_head, offsets, out, log_sums); }));
    report.work("its gradients", 2.5 * operations, seconds_of([&] {
                  ops::attention_backward(context, q, k, v, head_dim, kv_of_head, offsets, out, log_sums, g,
                                          d_q, d_k, d_v);
                }));
  }
}

void measure_passes(const ops::Context& context, const Report& report) {
  const std::int64_t width = 4096;
  const OwnedTensor x = random_tensor({tokens, width}, DType::f32, 1, 12),
                    norm = random_tensor({width}, DType::f32, 1, 13), out = empty_tensor({tokens, width});
  const auto bytes = static_cast<double>(x->bytes());
  report.traffic("RMS norm, 4096 x 4096", 2 * bytes,
                 seconds_of([&] { ops::rms_norm(context, x, norm, 1e-5f, out); }));
  const OwnedTensor gate = random_tensor({tokens, 11008}, DType::f32, 1, 14),
                    up = random_tensor({tokens, 11008}, DType::f32, 1, 15);
  report.traffic("gated activation, 4096 x 11008", 3 * static_cast<double>(gate->bytes()),
                 seconds_of([&] { ops::swiglu(context, gate, up, gate); }));
}

HfConfig llama_2_7b(std::int64_t layers) {
  HfConfig config;
  config.model_type = "llama";
  config.hidden_size = 4096;
  config.intermediate_size = 11008;
  config.layers = layers;
  config.heads = config.kv_heads = 32;
  config.head_dim = 128;
  config.vocab_size = 32000;
  config.max_position_embeddings = 4096;
  config.rms_norm_eps = 1e-5;
  config.rope.theta = 1e4;
  config.layer_shapes.assign(static_cast<std::size_t>(layers), even_layer_shape(32, 32, 11008));
  return config;
}

LayerWeights random_layer(const HfConfig& config) {
  const std::int64_t hidden = config.hidden_size, columns = config.intermediate_size;
  LayerWeights layer;
  const auto matrix = [&](std::int64_t rows, std::int64_t width, std::uint64_t seed) {
    return random_tensor({rows, width}, DType::bf16, 0.02f, seed);
  };
  layer.attention.kv_heads = config.kv_heads;
  layer.attention.kv_of_head = config.shape(0).kv_of_head;
  layer.attention.norm = random_tensor({hidden}, DType::f32, 1, 20);
  layer.attention.q = matrix(hidden, hidden, 21);
  layer.attention.k = matrix(hidden, hidden, 22);
  layer.attention.v = matrix(hidden, hidden, 23);
  layer.attention.o = matrix(hidden, hidden, 24);
  layer.ffn.columns = columns;
  layer.ffn.norm = random_tensor({hidden}, DType::f32, 1, 25);
  layer.ffn.gate = matrix(columns, hidden, 26);
  layer.ffn.up = matrix(columns, hidden, 27);
  layer.ffn.down = matrix(hidden, columns, 28);
  return layer;
}

LayerWeights duplicate(const LayerWeights& layer) {
  LayerWeights copy;
  copy.attention.kv_heads = layer.attention.kv_heads;
  copy.attention.kv_of_head = layer.attention.kv_of_head;
  copy.ffn.columns = layer.ffn.columns;
  const auto again = [](const Tensor& from) { return copy_of(from, Device::cuda, "benchmark"); };
  copy.attention.norm = again(layer.attention.norm);
  copy.attention.q = again(layer.attention.q);
  copy.attention.k = again(layer.attention.k);
  copy.attention.v = again(layer.attention.v);
  copy.attention.o = again(layer.attention.o);
  copy.ffn.norm = again(layer.ffn.norm);
  copy.ffn.gate = again(layer.ffn.gate);
  copy.ffn.up = again(layer.ffn.up);
  copy.ffn.down = again(layer.ffn.down);
  return copy;
}

void measure_model(const ops::Context& context, const Report& report, std::int64_t count) {
  const HfConfig config = llama_2_7b(count);
  std::vector<LayerWeights> layers;
  layers.push_back(random_layer(config));
  while (static_cast<std::int64_t>(layers.size()) < count) layers.push_back(duplicate(layers.front()));
  LayerForward forward(context, config, tokens);
  const std::vector<std::int64_t> offsets = {0, sequence, tokens};
  const OwnedTensor hidden = random_tensor({tokens, config.hidden_size}, DType::f32, 1, 30);
  const double parameters = 4.0 * 4096 * 4096 + 3.0 * 4096 * 11008;
  const double operations =
      static_cast<double>(count) * (2 * parameters * tokens + 4.0 * 4096 * sequence * tokens / 2);
  report.work(fmt::format("forward, {} layers of Llama-2-7B, 4096 tokens", count), operations,
              seconds_of(
                  [&] {
                    for (const LayerWeights& layer : layers) forward.run(layer, offsets, hidden);
                  },
                  3));

  // A candidate switch: the weights of a half-pruned ffn module, its level already on the GPU.
  std::vector<std::int64_t> kept;
  for (std::int64_t column = 0; column < 11008; column += 2) kept.push_back(column);
  const double seconds = seconds_of([&] {
    OwnedTensor down = copy_of(layers[0].ffn.down->view({4096, static_cast<std::int64_t>(kept.size())}),
                               Device::cuda, "benchmark");
    const FfnWeights pruned = prune_ffn(context, layers[0].ffn, kept, std::move(down));
  });
  fmt::print("{:<46} {:9.3f} ms (goal: under 10 ms for a few)\n",
             "switch of one ffn module to half its columns", seconds * 1e3);
}

ObsProblem random_problem(const ops::Context& context, std::int64_t rows, std::int64_t columns) {
  ObsProblem problem;
  problem.name = "benchmark";
  problem.weight = random_tensor({columns, rows}, DType::f32, 0.02f, 40);
  problem.hessian = empty_tensor({columns, columns});
  fill_zero(problem.hessian);
  const OwnedTensor inputs = random_tensor({tokens, columns}, DType::f32, 1, 41);
  ops::accumulate_gram(context, inputs, 2.0f / tokens, problem.hessian);
  for (std::int64_t k = 1; k <= 10; ++k) problem.removed.push_back(columns * k / 10);
  return problem;
}

void measure_obs(const ops::Context& context) {
  const auto ignore = [](std::int64_t, std::span<const std::int64_t>, const Tensor&) {};
  {
    const ObsProblem there = random_problem(context, 512, 1376);
    ObsProblem here;
    here.name = there.name;
    here.removed = there.removed;
    here.weight = copy_of(there.weight, Device::cpu, "benchmark");
    here.hessian = copy_of(there.hessian, Device::cpu, "benchmark");
    const ObsSummary found = structured_obs(context, there, ignore),
                     wanted = structured_obs(ops::Context(), here, ignore);
    const auto parted = std::mismatch(found.order.begin(), found.order.end(), wanted.order.begin()).first -
                        found.order.begin();
    fmt::print("OBS 512 x 1376: the order is the CPU's for {} of {} columns, loss apart {:.2g}\n", parted,
               found.order.size(), std::abs(found.loss.back() / wanted.loss.back() - 1));
  }
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{4096, 11008}, {5120, 13824}}) {
    const ObsProblem problem = random_problem(context, rows, columns);
    const double seconds = seconds_of([&] { structured_obs(context, problem, ignore); }, 3);
    fmt::print("{:<46} {:9.3f} ms (goal: under 1000 ms)\n",
               fmt::format("OBS of one ffn module, {} x {}", rows, columns), seconds * 1e3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::int64_t layers = argc > 1 ? std::atoi(argv[1]) : 32;
    const std::vector<Gpu> gpus = visible_gpus();
    if (gpus.empty()) throw ResourceError("no GPU is visible", "bench_gpu", "run it on a machine with one");
    const ops::Context context(Device::cuda, 0, DType::bf16);
    const Report report{peak_rate(context), copy_rate()};
    fmt::print("{}: bf16 products {:.0f} TFLOP/s, copies {:.0f} GB/s\n", gpus.front().name,
               report.peak / tera, report.bandwidth / 1e9);
    measure_shapes(context, report);
    measure_products(context, report);
    measure_attention(context, report);
    measure_passes(context, report);
    measure_obs(context);
    measure_model(context, report, std::max<std::int64_t>(layers, 1));
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_gpu: error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
