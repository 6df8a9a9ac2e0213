#include "../backends.hpp"
#include "column_sums.cuh"
#include "gelu.cuh"
#include "packs.cuh"
#include "reduce.cuh"
#include "vocabulary.cuh"

#include <numeric>
#include <vector>

namespace galapagos::ops::cuda {
namespace {

template <typename T>
struct Element {
  const T* x;
  std::int64_t columns;
  __device__ float operator()(std::int64_t row, std::int64_t column) const {
    return widen(x[row * columns + column]);
  }
};

template <typename T>
struct Square {
  const T* x;
  std::int64_t columns;
  __device__ float operator()(std::int64_t row, std::int64_t column) const {
    const float value = widen(x[row * columns + column]);
    return value * value;
  }
};

/// d_x of a row, and the factor by which the norm multiplied it. A thread block per row; what the threads can
/// keep of it in registers is read once.
template <int size, typename Stored>
__global__ void __launch_bounds__(block_threads)
    norm_gradient(const float* x, const Stored* weight, std::int64_t hidden, NormRule rule, const float* d_y,
                  float* d_x, float* factors) {
  constexpr int kept_packs = size == 1 ? 4 : 16 / size;
  const float *in = x + blockIdx.x * hidden, *gradient = d_y + blockIdx.x * hidden;
  float* result = d_x + blockIdx.x * hidden;
  const std::int64_t first = threadIdx.x * size;
  constexpr std::int64_t step = block_threads * size;
  double squares = 0, product = 0;
  // The values of x, and the gradient by them before the norm's factor.
  const auto begin = [&](float(&values)[size], float(&scaled)[size], std::int64_t i) {
    float scales[size];
    load_pack(in + i, values);
    load_pack(gradient + i, scaled);
    load_pack(weight + i, scales);
#pragma unroll
    for (int j = 0; j < size; ++j) scaled[j] *= scales[j] + rule.shift;
  };
  const auto add = [&](const float(&values)[size], const float(&scaled)[size]) {
#pragma unroll
    for (int j = 0; j < size; ++j) {
      squares += static_cast<double>(values[j]) * values[j];
      product += static_cast<double>(scaled[j]) * values[j];
    }
  };
  float kept[kept_packs][size], kept_scaled[kept_packs][size];
#pragma unroll
  for (int k = 0; k < kept_packs; ++k) {
    if (first + k * step < hidden) {
      begin(kept[k], kept_scaled[k], first + k * step);
      add(kept[k], kept_scaled[k]);
    }
  }
  for (std::int64_t i = first + kept_packs * step; i < hidden; i += step) {
    float values[size], scaled[size];
    begin(values, scaled, i);
    add(values, scaled);
  }
  squares = block_reduce(squares, Sum{});
  product = block_reduce(product, Sum{});
  const float factor = 1.0f / sqrtf(static_cast<float>(squares / static_cast<double>(hidden)) + rule.epsilon);
  const float back = factor * factor * factor * static_cast<float>(product / static_cast<double>(hidden));
  const auto finish = [&](const float(&values)[size], const float(&scaled)[size], std::int64_t i) {
    float sums[size];
    load_pack(result + i, sums);
#pragma unroll
    for (int j = 0; j < size; ++j) sums[j] += factor * scaled[j] - values[j] * back;
    store_pack(sums, result + i);
  };
#pragma unroll
  for (int k = 0; k < kept_packs; ++k) {
    if (first + k * step < hidden) finish(kept[k], kept_scaled[k], first + k * step);
  }
  for (std::int64_t i = first + kept_packs * step; i < hidden; i += step) {
    float values[size], scaled[size];
    begin(values, scaled, i);
    finish(values, scaled, i);
  }
  if (threadIdx.x == 0) factors[blockIdx.x] = factor;
}

struct NormWeightTerm {
  const float *d_y, *x, *factors;
  std::int64_t columns;
  __device__ float operator()(std::int64_t row, std::int64_t column) const {
    return d_y[row * columns + column] * x[row * columns + column] * factors[row];
  }
};

template <typename Value>
void sum_columns_of(const Context& context, const Value& value, std::int64_t rows, const Tensor& sums) {
  launch(context.cuda(), add_column_sums<Value>, blocks_for(sums.elements(), sum_columns), sum_threads, 0,
         value, rows, sums.elements(), sums.floats());
}

template <GateKind kind, int size, typename T>
__global__ void gate_gradient(const T* d_y, T* gate, T* up, std::int64_t count) {
  for_packs<size>(count, [=]<int some>(PackSize<some>, std::int64_t i) {
    float d[some], g[some], u[some];
    load_pack(d_y + i, d);
    load_pack(gate + i, g);
    load_pack(up + i, u);
#pragma unroll
    for (int j = 0; j < some; ++j) {
      const float by_gate = d[j] * u[j];
      if constexpr (kind == GateKind::gelu_tanh) {
        u[j] = d[j] * g[j] * gelu_share(g[j]);
        g[j] = by_gate * gelu_slope(g[j]);
      } else {
        const float sigmoid = 1.0f / (1.0f + expf(-g[j]));
        const float silu = g[j] * sigmoid;
        u[j] = d[j] * silu;
        g[j] = by_gate * (sigmoid + silu * (1.0f - sigmoid));
      }
    }
    store_pack(g, gate + i);
    store_pack(u, up + i);
  });
}

/// One thread block per different token: the rows `order[first]` ... of it, in their order.
__global__ void add_rows(const std::int32_t* tokens, const std::int32_t* order, const std::int32_t* firsts,
                         const float* d_out, std::int64_t hidden, std::int64_t first_id, std::int64_t ids,
                         float* d_table) {
  const std::int32_t first = firsts[blockIdx.x], last = firsts[blockIdx.x + 1];
  const std::int64_t id = tokens[order[first]] - first_id;
  if (id < 0 || id >= ids) return;
  float* to = d_table + id * hidden;
  for (std::int64_t i = threadIdx.x; i < hidden; i += blockDim.x) {
    float sum = to[i];
    for (std::int32_t at = first; at < last; ++at) sum += d_out[order[at] * hidden + i];
    to[i] = sum;
  }
}

__global__ void cross_entropy_gradient(const std::int32_t* targets, const float* weights,
                                       std::int64_t vocabulary, float* logits) {
  float* row = logits + blockIdx.x * vocabulary;
  const RowScale scale = scale_of(row, vocabulary);
  const float shift = scale.largest + static_cast<float>(scale.log_sum), weight = weights[blockIdx.x];
  const std::int64_t target = targets[blockIdx.x];
  for (std::int64_t i = threadIdx.x; i < vocabulary; i += blockDim.x)
    row[i] = weight * (expf(row[i] - shift) - (i == target ? 1.0f : 0.0f));
}

__global__ void kl_gradient(const float* dense, const float* dense_scale, const float* weights,
                            std::int64_t vocabulary, float* logits) {
  float* row = logits + blockIdx.x * vocabulary;
  const float* wanted = dense + blockIdx.x * vocabulary;
  const RowScale scale = scale_of(row, vocabulary);
  const float shift = scale.largest + static_cast<float>(scale.log_sum), weight = weights[blockIdx.x];
  const float dense_shift = dense_scale[2 * blockIdx.x] + dense_scale[2 * blockIdx.x + 1];
  for (std::int64_t i = threadIdx.x; i < vocabulary; i += blockDim.x)
    row[i] = weight * (expf(row[i] - shift) - expf(wanted[i] - dense_shift));
}

}  // namespace

void bias_gradient(const Context& context, const Tensor& d_y, const Tensor& d_bias) {
  with_stored(d_y.dtype, [&]<typename T>(const T*) {
    sum_columns_of(context, Element<T>{data_as<T>(d_y), d_y.columns()}, d_y.rows(), d_bias);
  });
}

void add_column_squares(const Context& context, const Tensor& x, const Tensor& sums) {
  with_stored(x.dtype, [&]<typename T>(const T*) {
    sum_columns_of(context, Square<T>{data_as<T>(x), x.columns()}, x.rows(), sums);
  });
}

void rms_norm_backward(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
                       const Tensor& d_y, const Tensor& d_x, const Tensor& d_weight) {
  if (x.empty()) return;
  Resources& gpu = context.cuda();
  const std::int64_t hidden = x.columns();
  const Array<float> factors(x.rows(), "factors of a norm");
  const bool packs = hidden % pack_size == 0 && aligned_for_packs(x.data, weight.data, d_y.data, d_x.data);
  with_pack_size(packs, [&]<int size>(PackSize<size>) {
    with_stored(weight.dtype, [&]<typename Stored>(const Stored*) {
      launch(gpu, norm_gradient<size, Stored>, dim3(static_cast<unsigned>(x.rows())), block_threads, 0,
             x.floats(), data_as<Stored>(weight), hidden, rule, d_y.floats(), d_x.floats(), factors.data());
    });
  });
  sum_columns_of(context, NormWeightTerm{d_y.floats(), x.floats(), factors.data(), hidden}, x.rows(),
                 d_weight);
}

void swiglu_backward(const Context& context, const Tensor& d_y, const Tensor& gate, const Tensor& up,
                     GateKind kind) {
  const std::int64_t count = gate.elements();
  with_pack_size(aligned_for_packs(d_y.data, gate.data, up.data), [&]<int size>(PackSize<size>) {
    with_stored(gate.dtype, [&]<typename T>(const T*) {
      launch(context.cuda(),
             kind == GateKind::silu ? gate_gradient<GateKind::silu, size, T>
                                    : gate_gradient<GateKind::gelu_tanh, size, T>,
             blocks_for((count + size - 1) / size), block_threads, 0, data_as<T>(d_y), data_as<T>(gate),
             data_as<T>(up), count);
    });
  });
}

void embed_backward(const Context& context, std::span<const std::int32_t> tokens, const Tensor& d_out,
                    const Tensor& d_table, std::int64_t first_id) {
  if (tokens.empty()) return;
  std::vector<std::int32_t> order(tokens.size()), firsts;
  std::iota(order.begin(), order.end(), 0);
  const auto token_at = [&](std::int32_t row) { return tokens[static_cast<std::size_t>(row)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return token_at(a) < token_at(b); });
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || token_at(order[i]) != token_at(order[i - 1]))
      firsts.push_back(static_cast<std::int32_t>(i));
  }
  const auto different = static_cast<unsigned>(firsts.size());
  firsts.push_back(static_cast<std::int32_t>(order.size()));
  Resources& gpu = context.cuda();
  const Array<std::int32_t> ids = gpu.upload(tokens);
  const Array<std::int32_t> sorted = gpu.upload(std::span<const std::int32_t>(order));
  const Array<std::int32_t> starts = gpu.upload(std::span<const std::int32_t>(firsts));
  launch(gpu, add_rows, dim3(different), block_threads, 0, ids.data(), sorted.data(), starts.data(),
         d_out.floats(), d_table.columns(), first_id, d_table.rows(), d_table.floats());
}

void cross_entropy_backward(const Context& context, std::span<const std::int32_t> targets,
                            std::span<const float> weights, const Tensor& logits) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<std::int32_t> wanted = gpu.upload(targets);
  const Array<float> factors = gpu.upload(weights);
  launch(gpu, cross_entropy_gradient, dim3(static_cast<unsigned>(logits.rows())), row_threads, 0,
         wanted.data(), factors.data(), logits.columns(), logits.floats());
}

void kl_backward(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                 std::span<const float> weights, const Tensor& logits) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<float> factors = gpu.upload(weights);
  launch(gpu, kl_gradient, dim3(static_cast<unsigned>(logits.rows())), row_threads, 0, dense.floats(),
         dense_scale.floats(), factors.data(), logits.columns(), logits.floats());
}

}  // namespace galapagos::ops::cuda
