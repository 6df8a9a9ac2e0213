#include "../backends.hpp"
#include "blas.hpp"
#include "obs_state.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <omp.h>
#include <utility>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

/// One block of removals: W and M stay as they were; what changes is carried as factors
///   M_now = M - sum c c^T,   G_now = G - sum (c q^T + q c^T),   q = p - (u.u / 2) c,   p = W_now^T u
/// with G = W^T W, of which only the columns removed are needed: p = G_now[:, j] / sqrt(d_j), u.u = n_j /
/// d_j. One matrix product gives them for the columns of least score when the block begins, which nearly
/// always hold all that it removes; any other is multiplied when its turn comes.
class ColumnBlock {
 public:
  ColumnBlock(const ObsState& state, std::int64_t width)
      : state_(state),
        columns_(state.columns),
        c_(std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(width * columns_))),
        q_(std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(width * columns_))),
        norm_(static_cast<std::size_t>(columns_)),
        diagonal_(static_cast<std::size_t>(columns_)),
        width_(width),
        slot_(static_cast<std::size_t>(columns_), -1) {
#pragma omp parallel for schedule(static)
    for (std::int64_t j = 0; j < columns_; ++j) {
      norm_[static_cast<std::size_t>(j)] = product(j, j);
      diagonal_[static_cast<std::size_t>(j)] = state.inverse->floats()[j * columns_ + j];
    }
    multiply_candidates();
  }

  /// Chooses all columns of the block; false where M is not positive definite.
  bool choose();
  /// W <- W - U C^T, the follower likewise, and M <- M - C C^T on the columns left, the others dropped.
  /// Appends the follower's scores.
  void apply(ObsState& state, std::vector<double>& follower_scores) const;

  const std::vector<std::int64_t>& removed() const {
    return removed_;
  }
  const std::vector<double>& scores() const {
    return scores_;
  }

 private:
  struct Best {
    float score = std::numeric_limits<float>::infinity();
    std::int64_t column = -1;
    float diagonal = 0;  // M_jj
  };

  const float* c(std::int64_t step) const {
    return c_.get() + step * columns_;
  }
  const float* q(std::int64_t step) const {
    return q_.get() + step * columns_;
  }
  float product(std::int64_t i, std::int64_t j) const;
  void multiply_candidates();
  Best best_of(std::int64_t first, std::int64_t last) const;
  void update(std::int64_t step, const Best& best, std::int64_t first, std::int64_t last);
  void subtract_factors(std::int64_t step, std::int64_t j, std::int64_t from, std::int64_t count);
  std::vector<float> removed_factors() const;
  std::vector<float> divided(const Tensor& weight, const std::vector<float>& factor) const;

  const ObsState& state_;
  std::int64_t columns_;
  std::unique_ptr<float[]> c_;  // [width, columns]
  std::unique_ptr<float[]> q_;
  std::vector<float> norm_;      // |W_:j|^2; infinity once removed
  std::vector<float> diagonal_;  // M_jj
  std::int64_t width_;
  std::vector<std::int64_t> slot_;     // row of a column in products_, or -1
  std::unique_ptr<float[]> products_;  // [candidates, columns]: rows of G
  std::vector<std::int64_t> removed_;
  std::vector<double> scores_;
};

/// G[i, j].
float ColumnBlock::product(std::int64_t i, std::int64_t j) const {
  const float *a = state_.weight->floats() + i * state_.rows, *b = state_.weight->floats() + j * state_.rows;
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t k = 0; k < state_.rows; ++k) sum += static_cast<double>(a[k]) * b[k];
  return static_cast<float>(sum);
}

void ColumnBlock::multiply_candidates() {
  const std::int64_t count = std::min(width_ + width_ * 3 / 4, columns_), rows = state_.rows;
  std::vector<std::pair<float, std::int64_t>> by_score;
  for (std::size_t j = 0; j < norm_.size(); ++j) {
    by_score.emplace_back(norm_[j] / diagonal_[j], static_cast<std::int64_t>(j));
  }
  std::nth_element(by_score.begin(), by_score.begin() + (count - 1), by_score.end());
  std::vector<float> weights(static_cast<std::size_t>(count * rows));
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t j = by_score[static_cast<std::size_t>(i)].second;
    slot_[static_cast<std::size_t>(j)] = i;
    std::copy_n(state_.weight->floats() + j * rows, rows, weights.data() + i * rows);
  }
  products_ = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(count * columns_));
  // Or packing W would cost as much as multiplying it.
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t j = 0; j < columns_; j += obs_columns_at_once) {
    gemm(false, true, count, std::min(obs_columns_at_once, columns_ - j), rows, 1.0f, weights.data(), rows,
         state_.weight->floats() + j * rows, rows, 0.0f, products_.get() + j, columns_);
  }
}

ColumnBlock::Best ColumnBlock::best_of(std::int64_t first, std::int64_t last) const {
  Best best;
  for (std::int64_t j = first; j < last; ++j) {
    const auto at = static_cast<std::size_t>(j);
    const float score = norm_[at] / diagonal_[at];
    if (score < best.score) best = {score, j, diagonal_[at]};
  }
  return best;
}

/// Takes the removals so far off column j of M and G, on `count` columns from `from`.
void ColumnBlock::subtract_factors(std::int64_t step, std::int64_t j, std::int64_t from, std::int64_t count) {
  float* c_new = c_.get() + step * columns_ + from;
  float* q_new = q_.get() + step * columns_ + from;
  std::int64_t s = 0;
  // Four at a time: what is subtracted from is loaded and stored once for all of them.
  for (; s + 4 <= step; s += 4) {
    const float *c0 = c(s) + from, *c1 = c(s + 1) + from, *c2 = c(s + 2) + from, *c3 = c(s + 3) + from;
    const float *q0 = q(s) + from, *q1 = q(s + 1) + from, *q2 = q(s + 2) + from, *q3 = q(s + 3) + from;
    const float c0_j = c(s)[j], c1_j = c(s + 1)[j], c2_j = c(s + 2)[j], c3_j = c(s + 3)[j];
    const float q0_j = q(s)[j], q1_j = q(s + 1)[j], q2_j = q(s + 2)[j], q3_j = q(s + 3)[j];
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      c_new[i] -= c0_j * c0[i] + c1_j * c1[i] + c2_j * c2[i] + c3_j * c3[i];
      q_new[i] -= c0_j * q0[i] + q0_j * c0[i] + c1_j * q1[i] + q1_j * c1[i] + c2_j * q2[i] + q2_j * c2[i] +
                  c3_j * q3[i] + q3_j * c3[i];
    }
  }
  for (; s < step; ++s) {
    const float *c_old = c(s) + from, *q_old = q(s) + from;
    const float c_j = c(s)[j], q_j = q(s)[j];
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      c_new[i] -= c_j * c_old[i];
      q_new[i] -= c_j * q_old[i] + q_j * c_old[i];
    }
  }
}

void ColumnBlock::update(std::int64_t step, const Best& best, std::int64_t first, std::int64_t last) {
  const std::int64_t j = best.column, slot = slot_[static_cast<std::size_t>(j)];
  const float score = best.score, inverse_root = 1.0f / std::sqrt(best.diagonal);
  for (std::int64_t from = first; from < last; from += obs_strip) {
    const std::int64_t count = std::min(obs_strip, last - from);
    float* c_new = c_.get() + step * columns_ + from;
    float* q_new = q_.get() + step * columns_ + from;
    copy_symmetric_row(state_.inverse->floats(), columns_, j, from, from + count, c_new);
    if (slot >= 0) {
      std::copy_n(products_.get() + slot * columns_ + from, count, q_new);
    } else {
      for (std::int64_t i = 0; i < count; ++i) q_new[i] = product(j, from + i);
    }
    subtract_factors(step, j, from, count);
    float* norm = norm_.data() + from;
    float* diagonals = diagonal_.data() + from;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      const float c_i = c_new[i] * inverse_root;
      const float p_i = q_new[i] * inverse_root;
      c_new[i] = c_i;
      q_new[i] = p_i - 0.5f * score * c_i;
      norm[i] = std::max(norm[i] - 2.0f * p_i * c_i + score * c_i * c_i, 0.0f);
      diagonals[i] -= c_i * c_i;
    }
  }
}

bool ColumnBlock::choose() {
  // A thread takes a run of columns through the whole block; what a column gets does not depend on who
  // computes it.
  const auto wanted = static_cast<int>(std::clamp<std::int64_t>(columns_ / 512, 1, omp_get_max_threads()));
  std::vector<Best> bests(static_cast<std::size_t>(2 * wanted));
  bool positive = true;
#pragma omp parallel num_threads(wanted)
  {
    const std::int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
    const std::int64_t first = columns_ * me / team, last = columns_ * (me + 1) / team;
    bests[static_cast<std::size_t>(me)] = best_of(first, last);
    for (std::int64_t step = 0; step < width_; ++step) {
#pragma omp barrier
      // Two sets of bests in turn, so that one barrier a step is enough.
      const Best* candidates = bests.data() + step % 2 * wanted;
      Best best = candidates[0];
      for (std::int64_t other = 1; other < team; ++other) {
        if (candidates[other].score < best.score) best = candidates[other];
      }
      if (best.column < 0 || !(best.diagonal > 0)) {
#pragma omp single nowait
        positive = false;
        break;
      }
#pragma omp single nowait
      {
        removed_.push_back(best.column);
        scores_.push_back(best.score);
      }
      update(step, best, first, last);
      if (best.column >= first && best.column < last) {
        norm_[static_cast<std::size_t>(best.column)] = std::numeric_limits<float>::infinity();
        diagonal_[static_cast<std::size_t>(best.column)] = 1.0f;
      }
      bests[static_cast<std::size_t>((step + 1) % 2 * wanted + me)] = best_of(first, last);
    }
  }
  return positive;
}

/// L[k, s] = C_s[j_k], the lower triangle.
std::vector<float> ColumnBlock::removed_factors() const {
  const std::size_t width = removed_.size();
  std::vector<float> factor(width * width);
  for (std::size_t k = 0; k < width; ++k) {
    for (std::size_t s = 0; s <= k; ++s) factor[k * width + s] = c(static_cast<std::int64_t>(s))[removed_[k]];
  }
  return factor;
}

/// U [width, rows] with U L^T = W_:J: what the removals one by one would have divided and subtracted.
std::vector<float> ColumnBlock::divided(const Tensor& weight, const std::vector<float>& factor) const {
  const auto width = static_cast<std::int64_t>(removed_.size());
  const std::int64_t rows = weight.columns();
  std::vector<float> u(static_cast<std::size_t>(width * rows));
  for (std::int64_t k = 0; k < width; ++k) {
    std::copy_n(weight.floats() + removed_[static_cast<std::size_t>(k)] * rows, rows, u.data() + k * rows);
  }
  for_tiles(1, rows, [&](std::int64_t, std::int64_t, std::int64_t column, std::int64_t count) {
    solve_lower_left(width, count, factor.data(), width, u.data() + column, rows);
  });
  return u;
}

void ColumnBlock::apply(ObsState& state, std::vector<double>& follower_scores) const {
  const auto width = static_cast<std::int64_t>(removed_.size());
  const std::int64_t rows = state.rows;
  const std::vector<float> factor = removed_factors();
  const std::vector<float> u = divided(state.weight, factor);
  std::vector<float> follower_u;
  if (state.followed()) {
    follower_u = divided(state.follower, factor);
    for (std::int64_t k = 0; k < width; ++k) {
      follower_scores.push_back(square_sum(follower_u.data() + k * rows, rows));
    }
  }

  std::vector<std::int64_t> dropped = removed_;
  std::sort(dropped.begin(), dropped.end());
  drop_columns(state, dropped);
  const std::int64_t left = state.columns;
  std::vector<float> c_left(static_cast<std::size_t>(width * left));
#pragma omp parallel for schedule(static)
  for (std::int64_t k = 0; k < width; ++k) {
    std::size_t next = 0;
    float* to = c_left.data() + k * left;
    for (std::int64_t j = 0; j < columns_; ++j) {
      if (next < dropped.size() && dropped[next] == j) {
        ++next;
      } else {
        *to++ = c(k)[j];
      }
    }
  }
  parallel_gemm(true, false, left, rows, width, -1.0f, c_left.data(), left, u.data(), rows, 1.0f,
                state.weight->floats(), rows);
  if (state.followed()) {
    parallel_gemm(true, false, left, rows, width, -1.0f, c_left.data(), left, follower_u.data(), rows, 1.0f,
                  state.follower->floats(), rows);
  }
  parallel_syrk_lower(true, left, width, -1.0f, c_left.data(), left, state.inverse->floats(), left);
}

}  // namespace

bool obs_remove_columns(const Context&, ObsState& state, std::int64_t count,
                        std::vector<std::int64_t>& removed, std::vector<double>& scores,
                        std::vector<double>& follower_scores) {
  std::vector<std::int64_t> original(static_cast<std::size_t>(state.columns));
  for (std::size_t j = 0; j < original.size(); ++j) original[j] = static_cast<std::int64_t>(j);
  // Blocks of about obs_block and of equal width: every block costs a pass over M and W, however narrow it
  // is.
  const std::int64_t blocks = std::max<std::int64_t>((count + obs_block / 2) / obs_block, 1);
  const std::int64_t width = (count + blocks - 1) / blocks;
  for (std::int64_t done = 0; done < count;) {
    ColumnBlock block(state, std::min(width, count - done));
    if (!block.choose()) return false;
    block.apply(state, follower_scores);
    for (const std::int64_t j : block.removed()) removed.push_back(original[static_cast<std::size_t>(j)]);
    scores.insert(scores.end(), block.scores().begin(), block.scores().end());
    for (const std::int64_t j : block.removed()) original[static_cast<std::size_t>(j)] = -1;
    std::erase(original, -1);
    done += static_cast<std::int64_t>(block.removed().size());
  }
  return true;
}

}  // namespace galapagos::ops::cpu
