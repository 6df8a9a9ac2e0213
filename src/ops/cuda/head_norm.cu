#include "../backends.hpp"
#include "column_sums.cuh"
#include "reduce.cuh"
#include "stored.cuh"
#include "tuning.hpp"

namespace galapagos::ops::cuda {
namespace {

constexpr int heads_per_block = block_threads / 32;  // a warp has one

__device__ float factor_of(double squares, std::int64_t head_dim, float epsilon) {
  return 1.0f / sqrtf(static_cast<float>(squares / static_cast<double>(head_dim)) + epsilon);
}

template <typename T>
__global__ void __launch_bounds__(block_threads)
    normalise_heads(const T* x, const float* weight, std::int64_t head_dim, std::int64_t heads, NormRule rule,
                    T* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t head =
      static_cast<std::int64_t>(blockIdx.x) * heads_per_block + static_cast<int>(threadIdx.x) / 32;
  if (head >= heads) return;  // all of a warp
  const T* in = x + head * head_dim;
  double squares = 0;
  for (std::int64_t i = lane; i < head_dim; i += 32) {
    const float value = widen(in[i]);
    squares += static_cast<double>(value) * value;
  }
  const float factor = factor_of(warp_reduce(squares, Sum{}), head_dim, rule.epsilon);
  for (std::int64_t i = lane; i < head_dim; i += 32)
    out[head * head_dim + i] = narrow<T>(widen(in[i]) * factor * (weight[i] + rule.shift));
}

/// A block has consecutive heads, the last blocks perhaps none, and leaves their sum of the weight's gradient
/// in its row of `sums`.
template <typename T>
__global__ void __launch_bounds__(block_threads)
    head_gradients(const T* x, const float* weight, std::int64_t head_dim, std::int64_t heads,
                   std::int64_t per_block, NormRule rule, T* d, float* sums) {
  extern __shared__ float of_warps[];  // [heads_per_block, head_dim]
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  float* sum = of_warps + warp * head_dim;
  for (std::int64_t i = lane; i < head_dim; i += 32) sum[i] = 0;
  const std::int64_t first = blockIdx.x * per_block;
  const std::int64_t last = first + per_block < heads ? first + per_block : heads;
  for (std::int64_t head = first + warp; head < last; head += heads_per_block) {
    const T* in = x + head * head_dim;
    T* gradient = d + head * head_dim;
    double squares = 0, product = 0;
    for (std::int64_t i = lane; i < head_dim; i += 32) {
      const float value = widen(in[i]);
      squares += static_cast<double>(value) * value;
      product += static_cast<double>(widen(gradient[i]) * (weight[i] + rule.shift)) * value;
    }
    squares = warp_reduce(squares, Sum{});
    product = warp_reduce(product, Sum{});
    const float factor = factor_of(squares, head_dim, rule.epsilon);
    const float back = factor * factor * factor * static_cast<float>(product / static_cast<double>(head_dim));
    for (std::int64_t i = lane; i < head_dim; i += 32) {
      const float value = widen(in[i]), by_output = widen(gradient[i]);
      sum[i] += by_output * value * factor;
      gradient[i] = narrow<T>(factor * by_output * (weight[i] + rule.shift) - value * back);
    }
  }
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < head_dim; i += block_threads) {
    float total = 0;
    for (int other = 0; other < heads_per_block; ++other) total += of_warps[other * head_dim + i];
    sums[blockIdx.x * head_dim + i] = total;
  }
}

struct PartialSum {
  const float* sums;
  std::int64_t columns;
  __device__ float operator()(std::int64_t row, std::int64_t column) const {
    return sums[row * columns + column];
  }
};

}  // namespace

void head_norm(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
               const Tensor& out) {
  const std::int64_t head_dim = weight.elements(), heads = x.elements() / head_dim;
  with_stored(x.dtype, [&]<typename T>(const T*) {
    launch(context.cuda(), normalise_heads<T>, blocks_for(heads, heads_per_block), block_threads, 0,
           data_as<T>(x), weight.floats(), head_dim, heads, rule, data_as<T>(out));
  });
}

void head_norm_backward(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
                        const Tensor& d, const Tensor& d_weight) {
  const std::int64_t head_dim = weight.elements(), heads = x.elements() / head_dim;
  if (heads == 0) return;
  const std::int64_t blocks =
      std::min<std::int64_t>(head_norm_blocks, (heads + heads_per_block - 1) / heads_per_block);
  const std::int64_t per_block = (heads + blocks - 1) / blocks;
  Resources& gpu = context.cuda();
  const Array<float> sums(blocks * head_dim, "sums of a norm's gradient");
  with_stored(x.dtype, [&]<typename T>(const T*) {
    launch(gpu, head_gradients<T>, dim3(static_cast<unsigned>(blocks)), block_threads,
           static_cast<std::size_t>(heads_per_block * head_dim) * sizeof(float), data_as<T>(x),
           weight.floats(), head_dim, heads, per_block, rule, data_as<T>(d), sums.data());
  });
  const PartialSum sum{sums.data(), head_dim};
  launch(gpu, add_column_sums<PartialSum>, blocks_for(head_dim, sum_columns), sum_threads, 0, sum, blocks,
         head_dim, d_weight.floats());
}

}  // namespace galapagos::ops::cuda
