// Attention on a GPU in bf16, our own kernels beside cuDNN: milliseconds and TFLOP/s of causal attention of
// 32 query heads and of its gradients, and by how much both differ. What attention.cu's choice rests on.
//   bench_attention
#include "measuring.hpp"
#include "ops/cuda/attention_cudnn.hpp"
#include "ops/cuda/attention_cudnn_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <functional>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/cudnn.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/tensor/gpu.hpp>

using namespace galapagos;
using ops::cuda::AttentionWay;

namespace {

constexpr std::int64_t heads = 32, tokens = 4096;

/// The median of some runs of `repeats` calls, after one that warms up and makes plans.
double seconds_of(const std::function<void()>& work) {
  constexpr int runs = 5, repeats = 4;
  const auto repeated = [&] {
    for (int repeat = 0; repeat < repeats; ++repeat) work();
  };
  return bench::median_seconds(Device::cuda, repeated, runs) / repeats;
}

/// Evenly distributed values of standard deviation 1, in bf16.
OwnedTensor random_tensor(Shape shape, std::uint64_t seed) {
  const std::vector<float> values = bench::random_values(static_cast<std::size_t>(shape.elements()), 1, seed);
  const OwnedTensor host(shape, DType::bf16, Device::cpu, "benchmark");
  convert_from_float(values, DType::bf16, host->data);
  OwnedTensor there(shape, DType::bf16, Device::cuda, "benchmark");
  copy_bytes(there->data, Device::cuda, host->data, Device::cpu, host->bytes());
  return there;
}

/// Of the largest value of `wanted`, the largest difference from it.
double difference(const Tensor& found, const Tensor& wanted) {
  const auto values = [](const Tensor& tensor) {
    const OwnedTensor host = copy_of(tensor, Device::cpu, "benchmark");
    std::vector<float> read(static_cast<std::size_t>(tensor.elements()));
    convert_to_float(tensor.dtype, host->data, read);
    return read;
  };
  const std::vector<float> a = values(found), b = values(wanted);
  double most = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) return NAN;
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return most / largest;
}

struct Outcome {
  OwnedTensor out, log_sums, d_q, d_k, d_v;
};

void measure(const ops::Context& context, std::int64_t head_dim, std::int64_t kv_heads, std::int64_t length,
             bool cudnn) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t first = 0; first <= tokens; first += length) offsets.push_back(first);
  std::vector<std::int32_t> kv_of_head;
  for (std::int64_t head = 0; head < heads; ++head)
    kv_of_head.push_back(static_cast<std::int32_t>(head * kv_heads / heads));
  const Shape q_shape{tokens, heads * head_dim}, kv_shape{tokens, kv_heads * head_dim};
  const OwnedTensor q = random_tensor(q_shape, 1), k = random_tensor(kv_shape, 2),
                    v = random_tensor(kv_shape, 3), d_out = random_tensor(q_shape, 4);
  const auto empty = [](Shape shape, DType type) {
    return OwnedTensor(shape, type, Device::cuda, "benchmark");
  };
  const double operations =
      2.0 * heads * head_dim * static_cast<double>(tokens) * static_cast<double>(length);
  fmt::print("heads of {}, {} on {} KV heads, {} x {}\n", head_dim, heads, kv_heads, tokens / length, length);
  const auto measure_way = [&](AttentionWay way, const char* name) {
    ops::cuda::set_attention_way(way);
    Outcome outcome{empty(q_shape, DType::bf16), empty({tokens, heads}, DType::f32),
                    empty(q_shape, DType::bf16), empty(kv_shape, DType::bf16), empty(kv_shape, DType::bf16)};
    const auto line = [&](const char* what, double work, double seconds) {
      fmt::print("  attention, {:<5} {:<24} {:9.3f} ms {:8.1f} TFLOP/s\n", name, what, seconds * 1e3,
                 work / seconds / 1e12);
    };
    line("forward", operations,
         seconds_of([&] { ops::attention(context, q, k, v, head_dim, kv_of_head, offsets, outcome.out); }));
    line("forward for gradients", operations, seconds_of([&] {
           ops::attention(context, q, k, v, head_dim, kv_of_head, offsets, outcome.out, outcome.log_sums);
         }));
    line("gradients", 2.5 * operations, seconds_of([&] {
           ops::attention_backward(context, q, k, v, head_dim, kv_of_head, offsets, outcome.out,
                                   outcome.log_sums, d_out, outcome.d_q, outcome.d_k, outcome.d_v);
         }));
    return outcome;
  };
  const Outcome own = measure_way(AttentionWay::own, "own");
  if (!cudnn) return;
  const Outcome other = measure_way(AttentionWay::cudnn, "cuDNN");
  fmt::print(
      "  largest difference, of the largest value: out {:.1e}, log sums {:.1e}, d_q {:.1e}, d_k {:.1e}, "
      "d_v {:.1e}\n",
      difference(other.out, own.out), difference(other.log_sums, own.log_sums),
      difference(other.d_q, own.d_q), difference(other.d_k, own.d_k), difference(other.d_v, own.d_v));
}

}  // namespace

int main() {
  try {
    start_logging("debug", 0);  // what cuDNN refuses, and what its plans need
    const std::vector<Gpu> gpus = visible_gpus();
    if (gpus.empty())
      throw ResourceError("no GPU is visible", "bench_attention", "run it on a machine with one");
    const ops::Context context(Device::cuda, 0, DType::bf16);
    fmt::print("{}, cuDNN {}\n", gpus.front().name, ops::cudnn_version());
    const bool cudnn = ops::cuda::cudnn_loads();
    for (const std::int64_t head_dim : {64, 128}) {
      for (const std::int64_t kv_heads : {32, 8}) {
        for (const std::int64_t length : {512, 1024, 2048, 4096})
          measure(context, head_dim, kv_heads, length, cudnn);
      }
    }
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_attention: error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
