#include "../backends.hpp"
#include "launch.cuh"
#include "reduce.cuh"
#include "sortable.cuh"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace galapagos::ops::cuda {
namespace {

constexpr int lanes = 32;

/// The larger, the sooner an expert is chosen: by its probability, and of equal ones that which comes first.
/// NaN is less than all.
__device__ unsigned long long rank_of(float probability, int expert) {
  const std::uint32_t high = sortable(isnan(probability) ? -1.0f : probability);
  return static_cast<unsigned long long>(high) << 32 | (0xffffffffu - static_cast<std::uint32_t>(expert));
}

__device__ int expert_of(unsigned long long rank) {
  return static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(rank));
}

/// The probabilities of a token's experts, those that it goes to, and what each of these weighs. A warp per
/// token.
__global__ void choose_experts(const float* logits, std::int64_t tokens, int experts, int each,
                               bool renormalised, float* probabilities, std::int32_t* chosen,
                               float* weights) {
  const std::int64_t token = global_thread() / lanes;
  if (token >= tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  logits += token * experts;
  probabilities += token * experts;
  chosen += token * each;
  weights += token * each;
  float largest = -INFINITY;
  for (int e = lane; e < experts; e += lanes) largest = fmaxf(largest, logits[e]);
  largest = warp_reduce(largest, Greatest());
  double sum = 0;
  for (int e = lane; e < experts; e += lanes) {
    const float value = expf(logits[e] - largest);
    probabilities[e] = value;
    sum += static_cast<double>(value);
  }
  sum = warp_reduce(sum, Sum());
  for (int e = lane; e < experts; e += lanes)
    probabilities[e] = static_cast<float>(static_cast<double>(probabilities[e]) / sum);
  __syncwarp();
  unsigned long long before = ~0ull;  // the rank of the expert chosen last
  float all = 0;
  for (int i = 0; i < each; ++i) {
    unsigned long long best = 0;
    for (int e = lane; e < experts; e += lanes) {
      const unsigned long long rank = rank_of(probabilities[e], e);
      if (rank < before && rank > best) best = rank;
    }
    before = warp_reduce(best, Greatest());
    const float weight = probabilities[expert_of(before)];
    all += weight;
    if (lane == 0) {
      chosen[i] = expert_of(before);
      weights[i] = weight;
    }
  }
  if (!renormalised) return;
  __syncwarp();
  for (int i = lane; i < each; i += lanes) weights[i] /= all;
}

/// Where choices are counted and placed a chunk at a time, a block for each: those of this block.
struct Chunk {
  std::int64_t first, last;

  __device__ explicit Chunk(std::int64_t choices)
      : first(static_cast<std::int64_t>(blockIdx.x) * routing_chunk),
        last(first + routing_chunk < choices ? first + routing_chunk : choices) {}
};

/// counts[expert][chunk] = the choices of the expert in the chunk.
__global__ void count_choices(const std::int32_t* chosen, std::int64_t choices, int experts,
                              std::int32_t* counts) {
  const Chunk chunk(choices);
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += static_cast<int>(blockDim.x)) {
    std::int32_t count = 0;
    for (std::int64_t i = chunk.first; i < chunk.last; ++i) count += chosen[i] == e ? 1 : 0;
    counts[static_cast<std::int64_t>(e) * gridDim.x + blockIdx.x] = count;
  }
}

/// counts[expert][chunk] becomes the number of the expert's choices in the chunks before; totals[expert], of
/// all. A block of one warp per expert.
__global__ void add_up_counts(std::int64_t chunks, std::int32_t* counts, std::int64_t* totals) {
  const int lane = static_cast<int>(threadIdx.x);
  counts += blockIdx.x * chunks;
  std::int32_t before = 0;
  for (std::int64_t first = 0; first < chunks; first += lanes) {
    const std::int64_t at = first + lane;
    const std::int32_t own = at < chunks ? counts[at] : 0;
    std::int32_t sum = own;  // with those of the lanes before
    for (int offset = 1; offset < lanes; offset *= 2) {
      const std::int32_t other = __shfl_up_sync(all_lanes, sum, static_cast<unsigned>(offset));
      if (lane >= offset) sum += other;
    }
    if (at < chunks) counts[at] = before + sum - own;
    before += __shfl_sync(all_lanes, sum, lanes - 1);
  }
  if (lane == 0) totals[blockIdx.x] = before;
}

/// Puts each choice in its row, behind those of its expert that come before it. first_rows: of each expert,
/// or Routing::elsewhere.
__global__ void place_choices(const std::int32_t* chosen, const float* of_choices, std::int64_t choices,
                              int experts, int each, const std::int64_t* first_rows,
                              const std::int32_t* counts, std::int64_t* places, std::int64_t* tokens,
                              float* weights) {
  const Chunk chunk(choices);
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += static_cast<int>(blockDim.x)) {
    const bool here = first_rows[e] != Routing::elsewhere;
    std::int64_t row = first_rows[e] + counts[static_cast<std::int64_t>(e) * gridDim.x + blockIdx.x];
    for (std::int64_t i = chunk.first; i < chunk.last; ++i) {
      if (chosen[i] != e) continue;
      places[i] = here ? row : Routing::elsewhere;
      if (!here) continue;
      tokens[row] = i / each;
      weights[row] = of_choices[i];
      ++row;
    }
  }
}

/// A token's row of d_logits; a warp per token. d_probabilities may be null.
__global__ void router_gradient(const float* probabilities, const std::int32_t* chosen,
                                const std::int64_t* places, const float* d_weights,
                                const float* d_probabilities, std::int64_t tokens, int experts, int each,
                                bool renormalised, float* d_logits) {
  const std::int64_t token = global_thread() / lanes;
  if (token >= tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const float* p = probabilities + token * experts;
  float* d = d_logits + token * experts;
  chosen += token * each;
  places += token * each;
  const auto by_weight = [=](int i) { return places[i] < 0 ? 0.0f : d_weights[places[i]]; };
  float of_chosen = 0, inner = 0;  // sums over the chosen: of p, and of d_weight times p
  for (int i = 0; i < each; ++i) {
    of_chosen += p[chosen[i]];
    inner += by_weight(i) * p[chosen[i]];
  }
  for (int e = lane; e < experts; e += lanes) d[e] = renormalised ? 0.0f : -p[e] * inner;
  __syncwarp();
  for (int i = lane; i < each; i += lanes) {
    const float own = p[chosen[i]];
    d[chosen[i]] += renormalised ? own / of_chosen * (by_weight(i) - inner / of_chosen) : own * by_weight(i);
  }
  if (d_probabilities == nullptr) return;
  __syncwarp();
  float mean = 0;
  for (int e = lane; e < experts; e += lanes) mean += p[e] * d_probabilities[e];
  mean = warp_reduce(mean, Sum());
  for (int e = lane; e < experts; e += lanes) d[e] += p[e] * (d_probabilities[e] - mean);
}

}  // namespace

void route(const Context& context, const Tensor& logits, const RoutingRule& rule,
           std::span<const std::int64_t> columns, Routing& routing) {
  Resources& gpu = context.cuda();
  const std::int64_t tokens = logits.rows();
  const int experts = static_cast<int>(columns.size());
  const int each = std::min(static_cast<int>(rule.experts_per_token), experts);
  routing.token_count = tokens;
  routing.experts_per_token = each;
  routing.layout.columns.assign(columns.begin(), columns.end());
  routing.d_probabilities.clear();
  const std::int64_t choices = routing.choices(), chunks = (choices + routing_chunk - 1) / routing_chunk;
  const Array<float> of_choices(choices, "weights of experts");
  const Array<std::int32_t> counts(experts * chunks, "tokens of experts");
  const Array<std::int64_t> found(experts, "tokens of experts");
  launch(gpu, choose_experts, blocks_for(tokens, block_threads / lanes), block_threads, 0, logits.floats(),
         tokens, experts, each, rule.renormalised, routing.probabilities.data(), routing.chosen.data(),
         of_choices.data());
  launch(gpu, count_choices, dim3(static_cast<unsigned>(chunks)), block_threads, 0, routing.chosen.data(),
         choices, experts, counts.data());
  launch(gpu, add_up_counts, dim3(static_cast<unsigned>(experts)), lanes, 0, chunks, counts.data(),
         found.data());
  std::vector<std::int64_t> totals(columns.size()), first_rows(columns.size(), Routing::elsewhere);
  gpu.download(found.data(), std::span(totals));
  routing.layout.rows.assign(1, 0);
  for (std::size_t expert = 0; expert < columns.size(); ++expert) {
    const std::int64_t first = routing.layout.rows.back();
    if (columns[expert] > 0) first_rows[expert] = first;
    routing.layout.rows.push_back(first + (columns[expert] > 0 ? totals[expert] : 0));
  }
  const Array<std::int64_t> first = gpu.upload(std::span<const std::int64_t>(first_rows));
  launch(gpu, place_choices, dim3(static_cast<unsigned>(chunks)), block_threads, 0, routing.chosen.data(),
         of_choices.data(), choices, experts, each, first.data(), counts.data(), routing.places.data(),
         routing.tokens.data(), routing.weights.data());
}

void route_backward(const Context& context, const Routing& routing, const RoutingRule& rule,
                    const Tensor& d_weights, const Tensor& d_logits) {
  Resources& gpu = context.cuda();
  const Array<float> by_probability = gpu.upload(std::span<const float>(routing.d_probabilities));
  launch(gpu, router_gradient, blocks_for(routing.token_count, block_threads / lanes), block_threads, 0,
         routing.probabilities.data(), routing.chosen.data(), routing.places.data(), d_weights.floats(),
         by_probability.data(), routing.token_count, static_cast<int>(routing.layout.experts()),
         static_cast<int>(routing.experts_per_token), rule.renormalised, d_logits.floats());
}

}  // namespace galapagos::ops::cuda
