#include "../backends.hpp"
#include "launch.cuh"
#include "reduce.cuh"
#include "stored.cuh"
#include "tuning.hpp"

#include <cmath>

namespace galapagos::ops::cuda {
namespace {

struct Factors {
  float gradient, beta1, rest1, beta2, rest2, decay, step_size, root, epsilon;
};

struct Pointers {
  float *gradients, *master, *first, *second;
};

struct Element {
  float master, first, second;
};

/// To an ulp or so, in one instruction.
__device__ inline float near_root(float value) {
  float root;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(value));
  return root;
}

/// Root and quotient are within two ulps; exact ones, of a zero, take calls.
__device__ inline Element stepped(const Factors& f, float gradient, const Element& old) {
  const float g = gradient * f.gradient;
  Element element;
  element.first = f.beta1 * old.first + f.rest1 * g;
  element.second = f.beta2 * old.second + f.rest2 * g * g;
  element.master = old.master * f.decay -
                   __fdividef(f.step_size * element.first, near_root(element.second) * f.root + f.epsilon);
  return element;
}

/// A master weight as `Rounded` stores it, in the type of the working weight.
template <typename Weight, typename Rounded>
__device__ inline Weight working(float master) {
  return narrow<Weight>(widen(narrow<Rounded>(master)));
}

template <typename Weight, typename Rounded>
__device__ inline void step_one(const Factors& f, const Pointers& p, Weight* weights, float* bad,
                                std::int64_t i) {
  const float gradient = p.gradients[i];
  if (bad != nullptr && !isfinite(gradient)) *bad = gradient;
  const Element element = stepped(f, gradient, {p.master[i], p.first[i], p.second[i]});
  p.gradients[i] = 0;
  p.master[i] = element.master;
  p.first[i] = element.first;
  p.second[i] = element.second;
  weights[i] = working<Weight, Rounded>(element.master);
}

/// Four neighbouring fp32 values, so that a warp's accesses lie side by side.
struct Four {
  float values[4];

  __device__ static Four load(const float* from) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    return {{four.x, four.y, four.z, four.w}};
  }
  __device__ void store(float* to) const {
    *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
  }
};

/// Four working weights.
template <typename Weight>
struct alignas(4 * sizeof(Weight)) Weights {
  Weight values[4];
};

/// A thread does four elements at a time; all places begin at 16 bytes. The last `count` % 4 are done one by
/// one, by as many threads.
template <typename Weight, typename Rounded>
__global__ void __launch_bounds__(block_threads)
    update(Factors f, Pointers p, Weight* weights, float* bad, std::int64_t count) {
  const std::int64_t packs = count / 4;
  for (std::int64_t i = global_thread(); i < packs; i += global_threads()) {
    const std::int64_t at = 4 * i;
    const Four gradients = Four::load(p.gradients + at);
    Four master = Four::load(p.master + at), first = Four::load(p.first + at),
         second = Four::load(p.second + at);
    Weights<Weight> stored;
    Four{}.store(p.gradients + at);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (bad != nullptr && !isfinite(gradients.values[k])) *bad = gradients.values[k];
      const Element element =
          stepped(f, gradients.values[k], {master.values[k], first.values[k], second.values[k]});
      master.values[k] = element.master;
      first.values[k] = element.first;
      second.values[k] = element.second;
      stored.values[k] = working<Weight, Rounded>(element.master);
    }
    master.store(p.master + at);
    first.store(p.first + at);
    second.store(p.second + at);
    *reinterpret_cast<Weights<Weight>*>(weights + at) = stored;
  }
  const std::int64_t last = packs * 4 + global_thread();
  if (last < count) step_one<Weight, Rounded>(f, p, weights, bad, last);
}

/// For places that begin anywhere.
template <typename Weight, typename Rounded>
__global__ void __launch_bounds__(block_threads)
    update_one_by_one(Factors f, Pointers p, Weight* weights, float* bad, std::int64_t count) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads())
    step_one<Weight, Rounded>(f, p, weights, bad, i);
}

Factors factors_of(const AdamWStep& step) {
  const auto steps = static_cast<double>(step.step);
  Factors factors{};
  factors.gradient = static_cast<float>(step.gradient_factor);
  factors.beta1 = static_cast<float>(step.beta1);
  factors.rest1 = static_cast<float>(1 - step.beta1);
  factors.beta2 = static_cast<float>(step.beta2);
  factors.rest2 = static_cast<float>(1 - step.beta2);
  factors.decay = static_cast<float>(1 - step.learning_rate * step.weight_decay);
  factors.step_size = static_cast<float>(step.learning_rate / (1 - std::pow(step.beta1, steps)));
  factors.root = static_cast<float>(1 / std::sqrt(1 - std::pow(step.beta2, steps)));
  factors.epsilon = static_cast<float>(step.epsilon);
  return factors;
}

bool aligned(const AdamWState& state) {
  std::uintptr_t places = 0;
  for (const Tensor* tensor : {&state.gradients, &state.master, &state.first, &state.second, &state.weights})
    places |= reinterpret_cast<std::uintptr_t>(tensor->data);
  return places % 16 == 0;
}

constexpr std::int64_t per_sum_block = 4 * 4 * block_threads;

/// Sums [blocks] of the squares of what each block reads: 16 bytes at a time, four of them on their way.
__global__ void __launch_bounds__(block_threads)
    square_sums(const float* x, std::int64_t count, double* sums) {
  // What lies in front of the first 16 bytes, if anything, and behind the last.
  const std::int64_t head = (16 - reinterpret_cast<std::uintptr_t>(x) % 16) % 16 / sizeof(float);
  const std::int64_t front = head < count ? head : count, fours = (count - front) / 4;
  const auto* vectors = reinterpret_cast<const float4*>(x + front);
  const std::int64_t stride = global_threads();
  double sum = 0;
  const auto add = [&](float value) { sum += static_cast<double>(value) * value; };
  const auto add_four = [&](const float4& four) {
    add(four.x);
    add(four.y);
    add(four.z);
    add(four.w);
  };
  std::int64_t i = global_thread();
  for (; i + 3 * stride < fours; i += 4 * stride) {
    const float4 a = vectors[i], b = vectors[i + stride], c = vectors[i + 2 * stride],
                 d = vectors[i + 3 * stride];
    add_four(a);
    add_four(b);
    add_four(c);
    add_four(d);
  }
  for (; i < fours; i += stride) add_four(vectors[i]);
  if (global_thread() < front) add(x[global_thread()]);
  const std::int64_t behind = front + 4 * fours + global_thread();
  if (behind < count) add(x[behind]);
  const double total = block_reduce(sum, Sum());
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

__global__ void add_up(const double* sums, int count, double* total) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) sum += sums[i];
  sum = block_reduce(sum, Sum());
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace

void adamw(const Context& context, const AdamWStep& step, const AdamWState& state, DType precision,
           const Tensor& bad) {
  const std::int64_t count = state.master.elements();
  const Factors factors = factors_of(step);
  const Pointers pointers{state.gradients.floats(), state.master.floats(), state.first.floats(),
                          state.second.floats()};
  float* const found = bad.empty() ? nullptr : bad.floats();
  const auto run = [&]<typename Weight, typename Rounded>(const Weight*, const Rounded*) {
    if (aligned(state)) {
      launch(context.cuda(), update<Weight, Rounded>, blocks_for(count, 4 * block_threads), block_threads, 0,
             factors, pointers, data_as<Weight>(state.weights), found, count);
    } else {
      launch(context.cuda(), update_one_by_one<Weight, Rounded>, blocks_for(count), block_threads, 0, factors,
             pointers, data_as<Weight>(state.weights), found, count);
    }
  };
  with_stored(state.weights.dtype, [&]<typename Weight>(const Weight* weight) {
    if constexpr (std::is_same_v<Weight, float>) {
      with_stored(precision, [&](const auto* rounded) { run(weight, rounded); });
    } else {
      run(weight, weight);
    }
  });
}

void sums_of_squares(const Context& context, std::span<const Tensor> tensors, std::span<double> sums) {
  Resources& gpu = context.cuda();
  const auto parts = static_cast<std::int64_t>(tensors.size());
  const Array<double> partial(norm_blocks, "sums"), totals(parts, "sums");
  for (std::int64_t part = 0; part < parts; ++part) {
    const Tensor& x = tensors[static_cast<std::size_t>(part)];
    const std::int64_t wanted = (x.elements() + per_sum_block - 1) / per_sum_block;
    const int blocks = static_cast<int>(std::clamp<std::int64_t>(wanted, 1, norm_blocks));
    launch(gpu, square_sums, dim3(static_cast<unsigned>(blocks)), block_threads, 0, x.floats(), x.elements(),
           partial.data());
    launch(gpu, add_up, dim3(1), block_threads, 0, partial.data(), blocks, totals.data() + part);
  }
  if (parts > 0) gpu.download(totals.data(), sums.first(static_cast<std::size_t>(parts)));
}

}  // namespace galapagos::ops::cuda
