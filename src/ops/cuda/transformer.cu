#include "../backends.hpp"
#include "gelu.cuh"
#include "packs.cuh"
#include "reduce.cuh"

#include <vector>

namespace galapagos::ops::cuda {
namespace {

template <int size, typename Stored>
__global__ void look_up(const std::int32_t* tokens, const Stored* table, std::int64_t hidden,
                        std::int64_t first_id, std::int64_t ids, std::int64_t count, float* out) {
  const std::int64_t width = hidden / size;
  for (std::int64_t i = global_thread(); i < count / size; i += global_threads()) {
    const std::int64_t row = i / width, column = (i - row * width) * size;
    const std::int64_t id = tokens[row] - first_id;
    float values[size] = {};
    if (id >= 0 && id < ids) load_pack(table + id * hidden + column, values);
    store_pack(values, out + i * size);
  }
}

/// A thread block per row. What the threads can keep of it in registers is read once.
template <int size, typename Stored, typename Out>
__global__ void __launch_bounds__(block_threads)
    normalise(const float* x, const Stored* weight, std::int64_t hidden, NormRule rule, Out* out) {
  constexpr int kept_packs = size == 1 ? 8 : 32 / size;
  const float* in = x + blockIdx.x * hidden;
  Out* result = out + blockIdx.x * hidden;
  const std::int64_t first = threadIdx.x * size;
  constexpr std::int64_t step = block_threads * size;
  float kept[kept_packs][size];
  double squares = 0;
#pragma unroll
  for (int k = 0; k < kept_packs; ++k) {
    if (first + k * step < hidden) {
      load_pack(in + first + k * step, kept[k]);
#pragma unroll
      for (int j = 0; j < size; ++j) squares += static_cast<double>(kept[k][j]) * kept[k][j];
    }
  }
  for (std::int64_t i = first + kept_packs * step; i < hidden; i += step) {
    float values[size];
    load_pack(in + i, values);
#pragma unroll
    for (int j = 0; j < size; ++j) squares += static_cast<double>(values[j]) * values[j];
  }
  squares = block_reduce(squares, Sum{});
  const float factor = 1.0f / sqrtf(static_cast<float>(squares / static_cast<double>(hidden)) + rule.epsilon);
  const auto finish = [&](float(&values)[size], std::int64_t i) {
    float scales[size];
    load_pack(weight + i, scales);
#pragma unroll
    for (int j = 0; j < size; ++j) values[j] = values[j] * factor * (scales[j] + rule.shift);
    store_pack(values, result + i);
  };
#pragma unroll
  for (int k = 0; k < kept_packs; ++k) {
    if (first + k * step < hidden) finish(kept[k], first + k * step);
  }
  for (std::int64_t i = first + kept_packs * step; i < hidden; i += step) {
    float values[size];
    load_pack(in + i, values);
    finish(values, i);
  }
}

extern __shared__ float sines_and_cosines[];

/// A thread block per row, whose angles are the same for all heads. Of each head, the first 2 * half elements
/// are turned.
template <int size, typename T>
__global__ void rotate(T* q, T* k, std::int64_t q_width, std::int64_t k_width, std::int64_t head_dim,
                       std::int64_t half, const float* frequencies, const std::int32_t* positions,
                       float direction, float scale) {
  float *sines = sines_and_cosines, *cosines = sines + half;
  const auto position = static_cast<float>(positions[blockIdx.x]);
  for (std::int64_t i = threadIdx.x; i < half; i += blockDim.x) {
    float sine = 0, cosine = 0;
    sincosf(position * frequencies[i], &sine, &cosine);  // the angle in fp32, as transformers
    sines[i] = scale * sine * direction;
    cosines[i] = scale * cosine;
  }
  __syncthreads();
  const std::int64_t packs = half / size;  // of the lower half of what turns of a head
  for (std::int64_t pack = threadIdx.x; pack < (q_width + k_width) / head_dim * packs; pack += blockDim.x) {
    const std::int64_t head = pack / packs, i = (pack - head * packs) * size, column = head * head_dim;
    T* low = column < q_width ? q + blockIdx.x * q_width + column + i
                              : k + blockIdx.x * k_width + column - q_width + i;
    float a[size], b[size];
    load_pack(low, a);
    load_pack(low + half, b);
#pragma unroll
    for (int j = 0; j < size; ++j) {
      const float first = a[j], second = b[j];
      a[j] = first * cosines[i + j] - second * sines[i + j];
      b[j] = second * cosines[i + j] + first * sines[i + j];
    }
    store_pack(a, low);
    store_pack(b, low + half);
  }
}

void turn(const Context& context, const Tensor& q, const Tensor& k, std::int64_t head_dim,
          const Tensor& frequencies, std::span<const std::int64_t> offsets,
          std::span<const std::int64_t> starts, float direction, float scale) {
  const std::int64_t half = frequencies.elements(), rows = offsets.back();
  const std::int64_t q_width = q.empty() ? 0 : q.columns(), k_width = k.empty() ? 0 : k.columns();
  if (rows == 0 || half == 0 || q_width + k_width == 0) return;
  std::vector<std::int32_t> positions(static_cast<std::size_t>(rows));
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const std::int64_t start = starts.empty() ? 0 : starts[s];
    for (std::int64_t row = offsets[s]; row < offsets[s + 1]; ++row)
      positions[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(start + row - offsets[s]);
  }
  Resources& gpu = context.cuda();
  const Array<std::int32_t> on_gpu = gpu.upload(std::span<const std::int32_t>(positions));
  const std::size_t table = 2 * static_cast<std::size_t>(half) * sizeof(float);
  const bool packs = half % pack_size == 0 && head_dim % pack_size == 0;
  with_pack_size(packs && aligned_for_packs(q.data, k.data), [&]<int size>(PackSize<size>) {
    with_stored(q_width > 0 ? q.dtype : k.dtype, [&]<typename T>(const T*) {
      launch(gpu, rotate<size, T>, dim3(static_cast<unsigned>(rows)), block_threads, table, data_as<T>(q),
             data_as<T>(k), q_width, k_width, head_dim, half, frequencies.floats(), on_gpu.data(), direction,
             scale);
    });
  });
}

template <GateKind kind, int size, typename T>
__global__ void gated(const T* gate, const T* up, std::int64_t count, T* out) {
  for_packs<size>(count, [=]<int some>(PackSize<some>, std::int64_t i) {
    float g[some], u[some];
    load_pack(gate + i, g);
    load_pack(up + i, u);
#pragma unroll
    for (int j = 0; j < some; ++j) {
      if constexpr (kind == GateKind::gelu_tanh) {
        g[j] = g[j] * gelu_share(g[j]) * u[j];
      } else {
        g[j] = g[j] / (1.0f + expf(-g[j])) * u[j];
      }
    }
    store_pack(g, out + i);
  });
}

template <int size, typename Stored>
__global__ void look_for_infinity(const Stored* x, std::int64_t count, int* found) {
  for_packs<size>(count, [=]<int some>(PackSize<some>, std::int64_t i) {
    float values[some];
    load_pack(x + i, values);
    bool bad = false;
#pragma unroll
    for (int j = 0; j < some; ++j) bad |= !isfinite(values[j]);
    if (bad) *found = 1;
  });
}

}  // namespace

void embed(const Context& context, std::span<const std::int32_t> tokens, const Tensor& table,
           const Tensor& out, std::int64_t first_id) {
  Resources& gpu = context.cuda();
  if (tokens.empty()) return;
  const Array<std::int32_t> ids = gpu.upload(tokens);
  const std::int64_t hidden = table.columns(), count = ids.size() * hidden;
  with_pack_size(
      hidden % pack_size == 0 && aligned_for_packs(table.data, out.data), [&]<int size>(PackSize<size>) {
        with_stored(table.dtype, [&]<typename Stored>(const Stored*) {
          launch(gpu, look_up<size, Stored>, blocks_for(count / size), block_threads, 0, ids.data(),
                 data_as<Stored>(table), hidden, first_id, table.rows(), count, out.floats());
        });
      });
}

void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
              const Tensor& out) {
  const std::int64_t hidden = x.columns();
  const auto run = [&]<int size, typename Stored, typename Out>(PackSize<size>, const Stored*, const Out*) {
    launch(context.cuda(), normalise<size, Stored, Out>, dim3(static_cast<unsigned>(x.rows())), block_threads,
           0, x.floats(), data_as<Stored>(weight), hidden, rule, data_as<Out>(out));
  };
  with_pack_size(hidden % pack_size == 0 && aligned_for_packs(x.data, weight.data, out.data), [&](auto size) {
    with_stored(weight.dtype, [&](const auto* stored) {
      with_stored(out.dtype, [&](const auto* written) { run(size, stored, written); });
    });
  });
}

void rope(const Context& context, const Tensor& q, const Tensor& k, std::int64_t head_dim,
          const Tensor& frequencies, std::span<const std::int64_t> offsets, float scale,
          std::span<const std::int64_t> starts) {
  turn(context, q, k, head_dim, frequencies, offsets, starts, 1, scale);
}

void rope_backward(const Context& context, const Tensor& d_q, const Tensor& d_k, std::int64_t head_dim,
                   const Tensor& frequencies, std::span<const std::int64_t> offsets, float scale) {
  turn(context, d_q, d_k, head_dim, frequencies, offsets, {}, -1, scale);
}

void swiglu(const Context& context, const Tensor& gate, const Tensor& up, const Tensor& out, GateKind kind) {
  const std::int64_t count = gate.elements();
  with_pack_size(aligned_for_packs(gate.data, up.data, out.data), [&]<int size>(PackSize<size>) {
    with_stored(gate.dtype, [&]<typename T>(const T*) {
      launch(context.cuda(),
             kind == GateKind::silu ? gated<GateKind::silu, size, T> : gated<GateKind::gelu_tanh, size, T>,
             blocks_for((count + size - 1) / size), block_threads, 0, data_as<T>(gate), data_as<T>(up), count,
             data_as<T>(out));
    });
  });
}

bool all_finite(const Context& context, const Tensor& x) {
  if (x.empty()) return true;
  Resources& gpu = context.cuda();
  const OwnedTensor found({1}, DType::f32, Device::cuda, "a flag");
  fill_zero(found);
  with_pack_size(aligned_for_packs(x.data), [&]<int size>(PackSize<size>) {
    with_stored(x.dtype, [&]<typename Stored>(const Stored*) {
      launch(gpu, look_for_infinity<size, Stored>, blocks_for(x.elements(), 8 * block_threads), block_threads,
             0, data_as<Stored>(x), x.elements(), data_as<int>(found));
    });
  });
  return gpu.download(data_as<int>(found)) == 0;
}

}  // namespace galapagos::ops::cuda
