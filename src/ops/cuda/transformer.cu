#include "../backends.hpp"
#include "launch.cuh"
#include "reduce.cuh"
#include "stored.cuh"

#include <vector>

namespace galapagos::ops::cuda {
namespace {

template <typename Stored>
__global__ void look_up(const std::int32_t* tokens, const Stored* table, std::int64_t hidden,
                        std::int64_t first_id, std::int64_t ids, std::int64_t count, float* out) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) {
    const std::int64_t id = tokens[i / hidden] - first_id;
    out[i] = id >= 0 && id < ids ? widen(table[id * hidden + i % hidden]) : 0.0f;
  }
}

template <typename Stored>
__global__ void normalise(const float* x, const Stored* weight, std::int64_t hidden, float epsilon,
                          float* out) {
  const float* in = x + blockIdx.x * hidden;
  float* result = out + blockIdx.x * hidden;
  double squares = 0;
  for (std::int64_t i = threadIdx.x; i < hidden; i += blockDim.x)
    squares += static_cast<double>(in[i]) * in[i];
  squares = block_reduce(squares, Sum{});
  const float factor = 1.0f / sqrtf(static_cast<float>(squares / static_cast<double>(hidden)) + epsilon);
  for (std::int64_t i = threadIdx.x; i < hidden; i += blockDim.x)
    result[i] = in[i] * factor * widen(weight[i]);
}

/// One thread per pair.
__global__ void rotate(float* x, std::int64_t pairs, std::int64_t half, std::int64_t width,
                       const float* frequencies, const std::int32_t* positions, float direction) {
  for (std::int64_t pair = global_thread(); pair < pairs; pair += global_threads()) {
    const std::int64_t row = pair / (width / 2), rest = pair % (width / 2);
    const std::int64_t head = rest / half, i = rest % half;
    const float angle = static_cast<float>(positions[row]) * frequencies[i];  // in fp32, as transformers
    float sine = 0, cosine = 0;
    sincosf(angle, &sine, &cosine);
    sine *= direction;
    float* low = x + row * width + head * 2 * half + i;
    const float a = low[0], b = low[half];
    low[0] = a * cosine - b * sine;
    low[half] = b * cosine + a * sine;
  }
}

void turn(const Context& context, const Tensor& x, std::int64_t head_dim, const Tensor& frequencies,
          std::span<const std::int64_t> offsets, float direction) {
  if (x.empty()) return;
  std::vector<std::int32_t> positions(static_cast<std::size_t>(x.rows()));
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (std::int64_t row = offsets[s]; row < offsets[s + 1]; ++row)
      positions[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(row - offsets[s]);
  }
  Resources& gpu = context.cuda();
  const Array<std::int32_t> on_gpu = gpu.upload(std::span<const std::int32_t>(positions));
  const std::int64_t pairs = x.elements() / 2;
  launch(gpu, rotate, blocks_for(pairs), block_threads, 0, x.floats(), pairs, head_dim / 2, x.columns(),
         frequencies.floats(), on_gpu.data(), direction);
}

__global__ void gated(float* gate, const float* up, std::int64_t count) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads())
    gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

template <typename Stored>
__global__ void look_for_infinity(const Stored* x, std::int64_t count, int* found) {
  bool bad = false;
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) bad |= !isfinite(widen(x[i]));
  if (bad) *found = 1;
}

}  // namespace

void embed(const Context& context, std::span<const std::int32_t> tokens, const Tensor& table,
           const Tensor& out, std::int64_t first_id) {
  Resources& gpu = context.cuda();
  if (tokens.empty()) return;
  const Array<std::int32_t> ids = gpu.upload(tokens);
  const std::int64_t hidden = table.columns(), count = ids.size() * hidden;
  with_stored(table.dtype, [&]<typename Stored>(const Stored*) {
    launch(gpu, look_up<Stored>, blocks_for(count), block_threads, 0, ids.data(), data_as<Stored>(table),
           hidden, first_id, table.rows(), count, out.floats());
  });
}

void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, float epsilon,
              const Tensor& out) {
  with_stored(weight.dtype, [&]<typename Stored>(const Stored*) {
    launch(context.cuda(), normalise<Stored>, dim3(static_cast<unsigned>(x.rows())), block_threads, 0,
           x.floats(), data_as<Stored>(weight), x.columns(), epsilon, out.floats());
  });
}

void rope(const Context& context, const Tensor& x, std::int64_t head_dim, const Tensor& frequencies,
          std::span<const std::int64_t> offsets) {
  turn(context, x, head_dim, frequencies, offsets, 1);
}

void rope_backward(const Context& context, const Tensor& d_x, std::int64_t head_dim,
                   const Tensor& frequencies, std::span<const std::int64_t> offsets) {
  turn(context, d_x, head_dim, frequencies, offsets, -1);
}

void swiglu(const Context& context, const Tensor& gate, const Tensor& up) {
  const std::int64_t count = gate.elements();
  launch(context.cuda(), gated, blocks_for(count), block_threads, 0, gate.floats(), up.floats(), count);
}

bool all_finite(const Context& context, const Tensor& x) {
  if (x.empty()) return true;
  Resources& gpu = context.cuda();
  const OwnedTensor found({1}, DType::f32, Device::cuda, "a flag");
  fill_zero(found);
  with_stored(x.dtype, [&]<typename Stored>(const Stored*) {
    launch(gpu, look_for_infinity<Stored>, blocks_for(x.elements(), 8 * block_threads), block_threads, 0,
           data_as<Stored>(x), x.elements(), data_as<int>(found));
  });
  return gpu.download(data_as<int>(found)) == 0;
}

}  // namespace galapagos::ops::cuda
