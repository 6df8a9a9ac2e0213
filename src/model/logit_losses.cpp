#include <algorithm>
#include <cmath>

#include <galapagos/model/logit_losses.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/divergence.hpp>
#include <galapagos/ops/total_variation.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/ops/vocabulary.hpp>

namespace galapagos {
namespace {

/// Sums over the shards, in their order.
void sum_in_order(const Shards& shards, std::span<double> values) {
  const std::vector<double> all = shards.ranks().all_gather(std::span<const double>(values));
  std::fill(values.begin(), values.end(), 0.0);
  for (std::size_t i = 0; i < all.size(); ++i) values[i % values.size()] += all[i];
}

}  // namespace

LogitLosses::LogitLosses(const ops::Context& context, const Shards& shards, std::int64_t most_rows,
                         std::int64_t vocabulary, bool with_reference)
    : context_(context), shards_(shards) {
  if (!with_reference) return;
  room_ = OwnedTensor({most_rows, vocabulary}, DType::f32, context.device(), "logits of the reference");
  reference_scale_ = OwnedTensor({most_rows, 2}, DType::f32, context.device(), "logits of the reference");
}

std::vector<double> LogitLosses::slice_scales_of_all(const Tensor& logits) const {
  std::vector<double> mine(static_cast<std::size_t>(2 * logits.rows()));
  ops::slice_scales(context_, logits, mine);
  return shards_.alone() ? mine : shards_.ranks().all_gather(std::span<const double>(mine));
}

LogitLosses::Scales LogitLosses::scales_from(std::span<const double> all, std::size_t rows) {
  Scales scales;
  for (std::size_t row = 0; row < rows; ++row) {
    double largest = all[2 * row], sum = 0;
    for (std::size_t at = 2 * row; at < all.size(); at += 2 * rows) largest = std::max(largest, all[at]);
    for (std::size_t at = 2 * row; at < all.size(); at += 2 * rows)
      sum += std::exp(all[at] - largest + all[at + 1]);
    scales.log_sums.push_back(largest + std::log(sum));
    scales.shifts.push_back(static_cast<float>(scales.log_sums.back()));
  }
  return scales;
}

LogitLosses::Scales LogitLosses::scales_of(const Tensor& logits) const {
  const auto rows = static_cast<std::size_t>(logits.rows());
  return scales_from(slice_scales_of_all(logits), rows);
}

void LogitLosses::take_reference(const Tensor& logits) {
  reference_ = logits;
  whole_reference_.reset();
  if (shards_.alone()) {
    ops::softmax_scale(context_, reference_, reference_scale_->slice(0, reference_.rows()));
  } else {
    reference_scales_ = scales_of(reference_);
  }
}

void LogitLosses::nll(const Tensor& logits, std::span<const std::int32_t> targets,
                      const ops::RowValues& found) {
  if (shards_.alone()) return ops::token_nll(context_, logits, targets, found);
  scales_ = scales_of(logits);
  const std::span<double> rows = found.on_host().first(static_cast<std::size_t>(logits.rows()));
  ops::slice_logits_of(context_, logits, targets, shards_.first_id(), rows);
  sum_in_order(shards_, rows);
  for (std::size_t row = 0; row < rows.size(); ++row) rows[row] = scales_.log_sums[row] - rows[row];
}

void LogitLosses::draw(const Tensor& logits, std::span<const double> uniforms, std::span<std::int32_t> ids) {
  const auto rows = static_cast<std::size_t>(logits.rows());
  const std::vector<double> all = slice_scales_of_all(logits);
  scales_ = scales_from(all, rows);
  // Of each row, the slice in which the cumulative probability passes the number drawn, and where in it; as
  // the root finds it, since unlike machines may round otherwise.
  struct Place {
    double rest;
    int slice;
  };
  std::vector<Place> places(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    double before = 0, next = 0;
    for (int slice = 0; slice < shards_.count() && next <= uniforms[row]; ++slice) {
      const std::size_t at = static_cast<std::size_t>(slice) * 2 * rows + 2 * row;
      before = next;
      next += std::exp(all[at] + all[at + 1] - scales_.log_sums[row]);
      places[row] = {uniforms[row] - before, slice};
    }
  }
  if (!shards_.alone()) shards_.ranks().broadcast(std::span(places));
  std::vector<double> rests(rows);
  std::ranges::transform(places, rests.begin(), &Place::rest);
  ops::draw_ids(context_, logits, scales_.log_sums, rests, ids);
  if (shards_.alone()) return;
  std::vector<double> found(rows, 0.0);
  for (std::size_t row = 0; row < rows; ++row) {
    if (places[row].slice == shards_.index()) found[row] = static_cast<double>(shards_.first_id() + ids[row]);
  }
  sum_in_order(shards_, found);
  for (std::size_t row = 0; row < rows; ++row) ids[row] = static_cast<std::int32_t>(found[row]);
}

void LogitLosses::divergence(const Tensor& logits, const ops::RowValues& found) {
  const std::int64_t rows = logits.rows();
  if (shards_.alone()) {
    return ops::kl_divergence(context_, reference_, reference_scale_->slice(0, rows), logits, found);
  }
  scales_ = scales_of(logits);
  std::vector<double> sums(static_cast<std::size_t>(2 * rows));
  ops::slice_divergence(context_, reference_, reference_scales_.shifts, logits, scales_.shifts, sums);
  sum_in_order(shards_, sums);
  for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
    // What was lost where the shifts were rounded to fp32.
    const double rounding =
        (static_cast<double>(reference_scales_.shifts[row]) - reference_scales_.log_sums[row]) -
        (static_cast<double>(scales_.shifts[row]) - scales_.log_sums[row]);
    found.data[row] = sums[2 * row] / sums[2 * row + 1] + rounding;
  }
}

void LogitLosses::total_variation(const Tensor& logits, const ops::RowValues& found) {
  const std::int64_t rows = logits.rows();
  if (shards_.alone()) {
    return ops::total_variation(context_, reference_, reference_scale_->slice(0, rows), logits, found);
  }
  scales_ = scales_of(logits);
  std::vector<double> sums(static_cast<std::size_t>(2 * rows));
  ops::slice_variation(context_, reference_, reference_scales_.log_sums, logits, scales_.log_sums, sums);
  sum_in_order(shards_, sums);
  leanings_.clear();
  for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
    found.data[row] = std::min(sums[2 * row] / 2, 1.0);  // NaN stays
    leanings_.push_back(sums[2 * row + 1]);
  }
}

OwnedTensor LogitLosses::whole(const Tensor& slice) const {
  const std::int64_t rows = slice.rows(), width = slice.columns();
  const std::int64_t vocabulary = shards_.ranks().sum(width);
  OwnedTensor all = gathered_logits(slice.device, rows, vocabulary);
  fill_zero(all);
  for (std::int64_t row = 0; row < rows; ++row) {
    copy_bytes(reinterpret_cast<std::byte*>(all->floats() + row * vocabulary + shards_.first_id()),
               slice.device, reinterpret_cast<const std::byte*>(slice.floats() + row * width), slice.device,
               static_cast<std::size_t>(width) * sizeof(float));
  }
  shards_.sum(all);
  return all;
}

void LogitLosses::sparse_divergence(const Tensor& logits, std::int64_t k, const ops::RowValues& found) {
  if (shards_.alone()) return ops::sparse_kl_divergence(context_, reference_, logits, k, found);
  if (!whole_reference_) whole_reference_ = whole(reference_);
  ops::sparse_kl_divergence(context_, *whole_reference_, whole(logits), k, found);
}

void LogitLosses::arg_max(const Tensor& logits, std::span<std::int32_t> ids) {
  ops::arg_max(context_, logits, ids);
  if (shards_.alone()) return;
  struct Best {
    double logit;
    std::int64_t id;
  };
  const auto rows = static_cast<std::size_t>(logits.rows());
  std::vector<double> scales(2 * rows);
  ops::slice_scales(context_, logits, scales);
  std::vector<Best> mine(rows);
  for (std::size_t row = 0; row < rows; ++row) mine[row] = {scales[2 * row], shards_.first_id() + ids[row]};
  const std::vector<Best> all = shards_.ranks().all_gather(std::span<const Best>(mine));
  for (std::size_t row = 0; row < rows; ++row) {
    Best best = all[row];
    for (std::size_t at = row + rows; at < all.size(); at += rows) {
      if (all[at].logit > best.logit) best = all[at];
    }
    ids[row] = static_cast<std::int32_t>(best.id);
  }
}

void LogitLosses::nll_backward(std::span<const std::int32_t> targets, std::span<const float> weights,
                               const Tensor& logits) {
  if (shards_.alone()) return ops::cross_entropy_backward(context_, targets, weights, logits);
  ops::slice_cross_entropy_backward(context_, targets, shards_.first_id(), weights, scales_.shifts, logits);
}

void LogitLosses::divergence_backward(std::span<const float> weights, const Tensor& logits) {
  const std::int64_t rows = logits.rows();
  if (shards_.alone()) {
    return ops::kl_backward(context_, reference_, reference_scale_->slice(0, rows), weights, logits);
  }
  ops::slice_kl_backward(context_, reference_, reference_scales_.shifts, weights, scales_.shifts, logits);
}

void LogitLosses::total_variation_backward(std::span<const float> weights, const Tensor& logits) {
  if (shards_.alone()) {
    return ops::total_variation_backward(context_, reference_, reference_scale_->slice(0, logits.rows()),
                                         weights, logits);
  }
  ops::slice_variation_backward(context_, reference_, reference_scales_.log_sums, leanings_, weights,
                                scales_.log_sums, logits);
}

OwnedTensor gathered_logits(Device device, std::int64_t tokens, std::int64_t vocabulary) {
  return {{tokens, vocabulary}, DType::f32, device, "logits of all shards"};
}

}  // namespace galapagos
