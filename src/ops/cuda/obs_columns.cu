// Removal of single columns in blocks, on the GPU from the first block to the last: one small kernel per
// removal, whose end is the barrier that the next one needs, and no word to the host before all is done. The
// next one is launched while the one before it runs, where the GPU can.
#include "../backends.hpp"
#include "early_launch.cuh"
#include "obs_state.cuh"
#include "reduce.cuh"
#include "sortable.cuh"
#include "tuning.hpp"

#include <cmath>
#include <utility>

namespace galapagos::ops::cuda {
namespace {

constexpr int group_warps = block_threads / obs_group_columns;

using Key = unsigned long long;
constexpr Key no_key = ~Key{0};

/// A block of removals: W and M stay as they were at its beginning; what changes is carried as factors
///   M_now = M - sum c c^T,   G_now = G - sum (c q^T + q c^T),   q = p - (u.u / 2) c,   p = W_now^T u
/// with G = W^T W, of which `products` holds the rows of the columns of least score at the beginning.
struct Block {
  const float* weight;   // [n, rows]
  const float* inverse;  // [n, n]
  std::int64_t n, rows, candidates;
  float *c, *q;             // [width, n]
  float *norm, *diagonal;   // [n]: |W_:j|^2, infinity once removed, and M_jj
  std::int32_t* slot;       // [n]: row of a column in products, or -1
  std::int32_t* candidate;  // [candidates]
  float* candidate_weight;  // [candidates, rows]
  float* products;          // [candidates, n]
  Key* keys;                // [n]: score and index
  Key* bests;               // [2, groups]: of each group of columns, for this removal and the next
  float* best_diagonals;    // [2, groups]
  std::int32_t* removed;    // [width]
  float* scores;            // [width]
  int* failed;

  __device__ std::int64_t groups() const { return (n + obs_group_columns - 1) / obs_group_columns; }
};

/// Sorts by score, then by index; the last of all where there is nothing to remove.
__device__ Key key_of(float norm, float diagonal, std::int64_t j) {
  const float score = norm / diagonal;
  if (!(score < INFINITY)) return no_key;
  return static_cast<Key>(sortable(score)) << 32 | static_cast<std::uint32_t>(j);
}

/// A warp per column.
__global__ void measure(Block b) {
  if (*b.failed != 0) return;
  const std::int64_t j = global_thread() / 32;
  if (j >= b.n) return;
  const float* column = b.weight + j * b.rows;
  double sum = 0;
  for (std::int64_t i = threadIdx.x % 32; i < b.rows; i += 32)
    sum += static_cast<double>(column[i]) * column[i];
  sum = warp_reduce(sum, Sum{});
  if (threadIdx.x % 32 != 0) return;
  b.norm[j] = static_cast<float>(sum);
  b.diagonal[j] = b.inverse[j * b.n + j];
  b.keys[j] = key_of(b.norm[j], b.diagonal[j], j);
}

/// The candidates: a column's rank is the number of keys below its own.
__global__ void rank_columns(Block b) {
  __shared__ Key others[block_threads];
  if (*b.failed != 0) return;
  const std::int64_t j = global_thread();
  const Key mine = j < b.n ? b.keys[j] : no_key;
  std::int64_t rank = 0;
  for (std::int64_t first = 0; first < b.n; first += block_threads) {
    __syncthreads();
    const std::int64_t other = first + threadIdx.x;
    others[threadIdx.x] = other < b.n ? b.keys[other] : no_key;
    __syncthreads();
    const auto count = static_cast<int>(min(static_cast<std::int64_t>(block_threads), b.n - first));
    // Columns without a key come last, in their order.
    for (int i = 0; i < count; ++i) rank += others[i] < mine || (others[i] == mine && first + i < j) ? 1 : 0;
  }
  if (j >= b.n) return;
  b.slot[j] = rank < b.candidates ? static_cast<std::int32_t>(rank) : -1;
  if (rank < b.candidates) b.candidate[rank] = static_cast<std::int32_t>(j);
}

__global__ void gather_candidates(Block b) {
  if (*b.failed != 0) return;
  const std::int64_t from = b.candidate[blockIdx.x];
  for (std::int64_t i = threadIdx.x; i < b.rows; i += blockDim.x)
    b.candidate_weight[blockIdx.x * b.rows + i] = b.weight[from * b.rows + i];
}

/// The best of a group of columns, one in each lane of a warp.
__device__ void offer_best(const Block& b, int step, Key key, float diagonal) {
  const Key best = warp_reduce(key, Least{});
  const std::int64_t at = step % 2 * b.groups() + blockIdx.x;
  if (key == best && (key != no_key || threadIdx.x % 32 == 0)) {
    b.bests[at] = best;
    b.best_diagonals[at] = diagonal;
  }
}

__global__ void first_bests(Block b) {
  if (*b.failed != 0) return;
  const std::int64_t j = static_cast<std::int64_t>(blockIdx.x) * obs_group_columns + threadIdx.x;
  offer_best(b, 0, j < b.n ? b.keys[j] : no_key, j < b.n ? b.diagonal[j] : 1.0f);
}

/// G[j, first + i] of the columns of a group into `row`: a warp at a time takes one, of all threads.
__device__ void multiply_column(const Block& b, std::int64_t j, std::int64_t first, float* row) {
  for (int i = static_cast<int>(threadIdx.x) / 32; i < obs_group_columns; i += group_warps) {
    if (first + i >= b.n) continue;
    const float *one = b.weight + j * b.rows, *other = b.weight + (first + i) * b.rows;
    double sum = 0;
    for (std::int64_t at = threadIdx.x % 32; at < b.rows; at += 32)
      sum += static_cast<double>(one[at]) * other[at];
    sum = warp_reduce(sum, Sum{});
    if (threadIdx.x % 32 == 0) row[i] = static_cast<float>(sum);
  }
}

/// Removal number `step` of a block: the column of least score of all groups, and what it changes in the
/// columns of this group. Eight warps share the sums over the earlier removals. What is known of the column
/// is fetched all at once as soon as its number is: the time of a removal is that of the memory's answers.
__global__ void __launch_bounds__(block_threads) remove_column(Block b, int step) {
  __shared__ float c_of_best[obs_widest_block], q_of_best[obs_widest_block];
  __shared__ float c_partial[group_warps][obs_group_columns], q_partial[group_warps][obs_group_columns];
  __shared__ float products[obs_group_columns];
  await_earlier_kernels();
  const int failed = *b.failed;
  const std::int64_t groups = b.groups();
  const Key* bests = b.bests + step % 2 * groups;
  Key best = no_key;
  for (std::int64_t i = threadIdx.x; i < groups; i += blockDim.x) best = Least{}(best, bests[i]);
  // Another thread block may be about to say so.
  if (__syncthreads_or(failed) != 0) return;
  best = block_reduce(best, Least{});
  const auto j = best == no_key ? std::int64_t{0} : static_cast<std::int64_t>(best & 0xffffffffu);
  const float score = from_sortable(static_cast<std::uint32_t>(best >> 32));
  const float diagonal = best == no_key ? 0.0f : b.best_diagonals[step % 2 * groups + j / obs_group_columns];
  const std::int32_t slot = b.slot[j];
  for (int s = static_cast<int>(threadIdx.x); s < step; s += blockDim.x) {
    c_of_best[s] = b.c[s * b.n + j];
    q_of_best[s] = b.q[s * b.n + j];
  }
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * obs_group_columns;
  const int lane = static_cast<int>(threadIdx.x) % obs_group_columns;
  const int warp = static_cast<int>(threadIdx.x) / obs_group_columns;
  const std::int64_t i = first + lane;
  float inverse = 0, known = 0, old_norm = 0, old_diagonal = 0;
  if (warp == 0 && i < b.n) {
    inverse = symmetric_at(b.inverse, b.n, i, j);
    old_norm = b.norm[i];
    old_diagonal = b.diagonal[i];
    if (slot >= 0) known = b.products[slot * b.n + i];
  }
  if (!(diagonal > 0)) {
    if (threadIdx.x == 0) *b.failed = 1;
    return;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    b.removed[step] = static_cast<std::int32_t>(j);
    b.scores[step] = score;
  }
  if (slot < 0) multiply_column(b, j, first, products);
  __syncthreads();
  float c_sum = 0, q_sum = 0;
  if (i < b.n) {
#pragma unroll 4
    for (int s = warp; s < step; s += group_warps) {
      const float c = b.c[s * b.n + i], q = b.q[s * b.n + i];
      c_sum += c_of_best[s] * c;
      q_sum += c_of_best[s] * q + q_of_best[s] * c;
    }
  }
  c_partial[warp][lane] = c_sum;
  q_partial[warp][lane] = q_sum;
  __syncthreads();
  if (warp != 0) return;
  Key key = no_key;
  float new_diagonal = 1;
  if (i < b.n) {
    for (int other = 1; other < group_warps; ++other) {
      c_sum += c_partial[other][lane];
      q_sum += q_partial[other][lane];
    }
    const float inverse_root = 1.0f / sqrtf(diagonal);
    if (slot < 0) known = products[lane];
    const float c = (inverse - c_sum) * inverse_root;
    const float p = (known - q_sum) * inverse_root;
    b.c[step * b.n + i] = c;
    b.q[step * b.n + i] = p - 0.5f * score * c;
    const float norm = i == j ? INFINITY : fmaxf(old_norm - 2.0f * p * c + score * c * c, 0.0f);
    new_diagonal = i == j ? 1.0f : old_diagonal - c * c;
    b.norm[i] = norm;
    b.diagonal[i] = new_diagonal;
    key = key_of(norm, new_diagonal, i);
  }
  offer_best(b, step + 1, key, new_diagonal);
}

/// L[k, s] = C_s[j_k], s <= k.
__global__ void gather_factor(Block b, std::int64_t width, float* factor) {
  if (*b.failed != 0) return;
  const std::int64_t k = blockIdx.x, j = b.removed[k];
  for (std::int64_t s = threadIdx.x; s <= k; s += blockDim.x) factor[k * width + s] = b.c[s * b.n + j];
}

/// The rows of a weight that have been removed: U L^T = W_:J gives what the removals one by one would have
/// divided and subtracted.
__global__ void gather_removed(Block b, const float* weight, float* u) {
  if (*b.failed != 0) return;
  const std::int64_t k = blockIdx.x, j = b.removed[k];
  for (std::int64_t i = threadIdx.x; i < b.rows; i += blockDim.x) u[k * b.rows + i] = weight[j * b.rows + i];
}

/// The columns left, ascending.
__global__ void list_kept(Block b, std::int64_t width, std::int32_t* kept) {
  if (*b.failed != 0) return;
  const std::int64_t j = global_thread();
  if (j >= b.n) return;
  std::int64_t before = 0;
  for (std::int64_t k = 0; k < width; ++k) {
    if (b.removed[k] == j) return;
    before += b.removed[k] < j ? 1 : 0;
  }
  kept[j - before] = static_cast<std::int32_t>(j);
}

__global__ void gather_factors(Block b, const std::int32_t* kept, std::int64_t left, std::int64_t count,
                               float* factors) {
  if (*b.failed != 0) return;
  for (std::int64_t i = global_thread(); i < count; i += global_threads())
    factors[i] = b.c[i / left * b.n + kept[i % left]];
}

/// The memory of all blocks of a call.
struct Workspace {
  Workspace(const ObsState& state, std::int64_t width, std::int64_t candidates, std::int64_t count)
      : c(width * state.columns, "factors of OBS"),
        q(width * state.columns, "factors of OBS"),
        norm(state.columns, "scores of OBS"),
        diagonal(state.columns, "scores of OBS"),
        slot(state.columns, "scores of OBS"),
        candidate(candidates, "scores of OBS"),
        candidate_weight(candidates * state.rows, "candidates of OBS"),
        products(candidates * state.columns, "products of OBS"),
        keys(state.columns, "scores of OBS"),
        bests(2 * (state.columns / obs_group_columns + 1), "scores of OBS"),
        best_diagonals(bests.size(), "scores of OBS"),
        removed(count, "the order of OBS"),
        scores(count, "scores of OBS"),
        failed(1, "a flag"),
        factor(width * width, "factors of OBS"),
        u(width * state.rows, "factors of OBS"),
        follower_u(state.followed() ? u.size() : 0, "factors of OBS"),
        follower_scores(state.followed() ? count : 0, "scores of OBS"),
        kept(state.columns, "the order of OBS"),
        kept_factors(width * state.columns, "factors of OBS") {}

  Array<float> c, q, norm, diagonal;
  Array<std::int32_t> slot, candidate;
  Array<float> candidate_weight, products;
  Array<Key> keys, bests;
  Array<float> best_diagonals;
  Array<std::int32_t> removed;
  Array<float> scores;
  Array<int> failed;
  Array<float> factor, u, follower_u;
  Array<double> follower_scores;
  Array<std::int32_t> kept;
  Array<float> kept_factors;
};

std::int64_t candidates_of(std::int64_t width, std::int64_t columns) {
  return std::min(width + width / 2, columns);
}

/// Queues the choice of `width` columns, the first of them number `done` of the call.
void choose(Resources& gpu, const Block& b, std::int64_t width) {
  const auto blocks = [](std::int64_t count) { return dim3(static_cast<unsigned>(count)); };
  launch(gpu, measure, blocks_for(b.n, block_threads / 32), block_threads, 0, b);
  launch(gpu, rank_columns, blocks_for(b.n), block_threads, 0, b);
  launch(gpu, gather_candidates, blocks(b.candidates), block_threads, 0, b);
  gemm(gpu, false, true, b.candidates, b.n, b.rows, 1.0f, b.candidate_weight, b.rows, b.weight, b.rows,
       DType::f32, 0.0f, b.products, b.n);
  launch(gpu, first_bests, blocks_for(b.n, obs_group_columns), obs_group_columns, 0, b);
  static const bool early = launches_early(remove_column);
  for (int step = 0; step < width; ++step)
    launch_early(gpu, early, remove_column, blocks_for(b.n, obs_group_columns), block_threads, b, step);
}

/// W <- W - U C^T, the follower likewise, and M <- M - C C^T on the columns left, the others dropped. Puts
/// the follower's scores at `follower_scores`.
void apply(Resources& gpu, const Block& b, std::int64_t width, const Workspace& work, ObsState& state,
           ObsSpare& spare, double* follower_scores) {
  const std::int64_t left = b.n - width;
  const auto each = dim3(static_cast<unsigned>(width));
  launch(gpu, gather_factor, each, block_threads, 0, b, width, work.factor.data());
  const auto divide = [&](const Tensor& weight, float* u) {
    launch(gpu, gather_removed, each, block_threads, 0, b, weight.floats(), u);
    solve_lower_left(gpu, width, b.rows, work.factor.data(), u);
  };
  divide(state.weight, work.u.data());
  if (state.followed()) {
    divide(state.follower, work.follower_u.data());
    square_sums(gpu, work.follower_u.data(), width, b.rows, follower_scores);
  }
  launch(gpu, list_kept, blocks_for(b.n), block_threads, 0, b, width, work.kept.data());
  launch(gpu, gather_factors, blocks_for(width * left), block_threads, 0, b, work.kept.data(), left,
         width * left, work.kept_factors.data());
  keep_columns(gpu, state, spare, work.kept.data(), left, b.failed);
  subtract_factors(gpu, state, width, work.kept_factors.data(), work.u.data(), work.follower_u.data());
}

}  // namespace

bool obs_remove_columns(const Context& context, ObsState& state, std::int64_t count,
                        std::vector<std::int64_t>& removed, std::vector<double>& scores,
                        std::vector<double>& follower_scores) {
  if (count == 0) return true;
  Resources& gpu = context.cuda();
  // Blocks of about obs_block and of equal width: every block costs a pass over M and W, however narrow it
  // is.
  const std::int64_t blocks = std::max<std::int64_t>((count + obs_block / 2) / obs_block, 1);
  const std::int64_t width = (count + blocks - 1) / blocks;
  const Workspace work(state, width, candidates_of(width, state.columns), count);
  ObsSpare spare(state);
  check_cuda(cudaMemsetAsync(work.failed.data(), 0, sizeof(int), gpu.stream()), "cudaMemsetAsync");

  std::vector<std::int64_t> widths;
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t now = std::min(width, count - done);
    const Block b{state.weight->floats(),
                  state.inverse->floats(),
                  state.columns,
                  state.rows,
                  candidates_of(now, state.columns),
                  work.c.data(),
                  work.q.data(),
                  work.norm.data(),
                  work.diagonal.data(),
                  work.slot.data(),
                  work.candidate.data(),
                  work.candidate_weight.data(),
                  work.products.data(),
                  work.keys.data(),
                  work.bests.data(),
                  work.best_diagonals.data(),
                  work.removed.data() + done,
                  work.scores.data() + done,
                  work.failed.data()};
    choose(gpu, b, now);
    apply(gpu, b, now, work, state, spare, work.follower_scores.data() + done);
    widths.push_back(now);
    done += now;
  }
  if (gpu.download(work.failed.data()) != 0) return false;
  std::vector<std::int32_t> order(static_cast<std::size_t>(count));
  std::vector<float> found(static_cast<std::size_t>(count));
  gpu.download(work.removed.data(), std::span<std::int32_t>(order));
  gpu.download(work.scores.data(), std::span<float>(found));

  // Each block counted the columns that it found; the caller counts those before the call.
  std::vector<std::int64_t> original(static_cast<std::size_t>(state.columns + count));
  for (std::size_t j = 0; j < original.size(); ++j) original[j] = static_cast<std::int64_t>(j);
  auto next = order.begin();
  for (const std::int64_t now : widths) {
    const auto end = next + now;
    for (auto j = next; j != end; ++j) removed.push_back(original[static_cast<std::size_t>(*j)]);
    for (auto j = next; j != end; ++j) original[static_cast<std::size_t>(*j)] = -1;
    std::erase(original, -1);
    next = end;
  }
  scores.insert(scores.end(), found.begin(), found.end());
  if (state.followed()) {
    std::vector<double> followed(static_cast<std::size_t>(count));
    gpu.download(work.follower_scores.data(), std::span<double>(followed));
    follower_scores.insert(follower_scores.end(), followed.begin(), followed.end());
  }
  return true;
}

}  // namespace galapagos::ops::cuda
