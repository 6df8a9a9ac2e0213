#include "ops/columns.hpp"
#include "ops/devices.hpp"

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/ops/vocabulary.hpp>

using namespace galapagos;
using test::columns_of;
using test::on;
using test::random_tensor;

namespace {

using Values = std::vector<double>;

Values row64(const Tensor& matrix, std::int64_t row) {
  const float* begin = matrix.floats() + row * matrix.columns();
  return {begin, begin + matrix.columns()};
}

double log_sum64(const Values& logits) {
  double sum = 0;
  for (const double value : logits) sum += std::exp(value);
  return std::log(sum);
}

}  // namespace

TEST_CASE("losses and their gradients from slices of the vocabulary", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(31);
  const std::int64_t rows = 4, vocabulary = 700;
  const std::vector<std::int64_t> bounds = {0, 1, 300, 300, 700};  // one slice is empty
  const OwnedTensor dense = random_tensor({rows, vocabulary}, random, DType::f32, 3),
                    other = random_tensor({rows, vocabulary}, random, DType::f32, 3);
  const std::vector<std::int32_t> targets = {0, 299, 300, 699};
  const std::vector<float> weights = {0.5f, 1.0f, 0.0f, 2.0f};
  const auto count = static_cast<std::size_t>(rows);
  std::vector<float> p_shift, q_shift;
  for (std::int64_t row = 0; row < rows; ++row) {
    p_shift.push_back(static_cast<float>(log_sum64(row64(dense, row))));
    q_shift.push_back(static_cast<float>(log_sum64(row64(other, row))));
  }
  Values found(count, 0.0), divergence(count, 0.0), total(count, 0.0), sums(count, 0.0);
  for (std::size_t slice = 0; slice + 1 < bounds.size(); ++slice) {
    const std::int64_t first = bounds[slice], last = bounds[slice + 1];
    const OwnedTensor p = on(device, columns_of(dense, first, last)),
                      q = on(device, columns_of(other, first, last));
    Values scales(2 * count, NAN), logits(count, NAN), parts(2 * count, NAN);
    ops::slice_scales(context, q, scales);
    ops::slice_logits_of(context, q, targets, first, logits);
    ops::slice_divergence(context, p, p_shift, q, q_shift, parts);
    for (std::size_t row = 0; row < count; ++row) {
      sums[row] += std::exp(scales[2 * row] + scales[2 * row + 1]);
      found[row] += logits[row];
      divergence[row] += parts[2 * row];
      total[row] += parts[2 * row + 1];
      const std::vector<float> here = test::read(q);
      const auto width = static_cast<std::size_t>(last - first);
      float greatest = -INFINITY;
      for (std::size_t i = 0; i < width; ++i) greatest = std::max(greatest, here[row * width + i]);
      CHECK(scales[2 * row] == static_cast<double>(greatest));
    }
    const OwnedTensor cross = on(device, q), kl = on(device, q);
    ops::slice_cross_entropy_backward(context, targets, first, weights, q_shift, cross);
    ops::slice_kl_backward(context, p, p_shift, weights, q_shift, kl);
    const std::vector<float> d_cross = test::read(cross), d_kl = test::read(kl);
    double worst = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto at = static_cast<std::size_t>(row);
      const Values p_row = row64(dense, row), q_row = row64(other, row);
      const double p_log = log_sum64(p_row), q_log = log_sum64(q_row), weight = weights[at];
      for (std::int64_t id = first; id < last; ++id) {
        const auto i = static_cast<std::size_t>(row * (last - first) + id - first),
                   j = static_cast<std::size_t>(id);
        const double q_share = std::exp(q_row[j] - q_log), p_share = std::exp(p_row[j] - p_log);
        worst = std::max(
            worst, std::abs(static_cast<double>(d_cross[i]) - weight * (q_share - (id == targets[at]))));
        worst = std::max(worst, std::abs(static_cast<double>(d_kl[i]) - weight * (q_share - p_share)));
      }
    }
    CHECK(worst < 1e-6);
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto at = static_cast<std::size_t>(row);
    const Values p_row = row64(dense, row), q_row = row64(other, row);
    const double p_log = log_sum64(p_row), q_log = log_sum64(q_row);
    double expected = 0;
    for (std::size_t i = 0; i < p_row.size(); ++i)
      expected += std::exp(p_row[i] - p_log) * ((p_row[i] - p_log) - (q_row[i] - q_log));
    CHECK(std::log(sums[at]) == Approx(q_log).epsilon(1e-7));
    CHECK(found[at] == q_row[static_cast<std::size_t>(targets[at])]);
    CHECK(total[at] == Approx(1).epsilon(1e-6));
    CHECK(divergence[at] == Approx(expected).epsilon(1e-5));
  }
}

TEST_CASE("embedding from slices of the vocabulary, and its gradient", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(32);
  const std::int64_t hidden = 5;
  const std::vector<std::int32_t> tokens = {6, 0, 3, 6, 9, 4};
  const auto t = static_cast<std::int64_t>(tokens.size());
  const OwnedTensor table = random_tensor({10, hidden}, random),
                    d_out = on(device, random_tensor({t, hidden}, random));
  const OwnedTensor whole = on(device, table), expected = test::poisoned_on(device, {t, hidden}),
                    d_whole = test::zeros_on(device, {10, hidden});
  ops::embed(context, tokens, whole, expected);
  ops::embed_backward(context, tokens, d_out, d_whole);
  std::vector<float> sum(static_cast<std::size_t>(t * hidden), 0.0f), d_table;
  for (const auto& [first, last] : {std::pair<std::int64_t, std::int64_t>{0, 4}, {4, 7}, {7, 7}, {7, 10}}) {
    const OwnedTensor slice = on(device, table->slice(first, last - first)),
                      out = test::poisoned_on(device, {t, hidden}),
                      d_slice = test::zeros_on(device, {last - first, hidden});
    ops::embed(context, tokens, slice, out, first);
    ops::embed_backward(context, tokens, d_out, d_slice, first);
    const std::vector<float> part = test::read(out), d_part = test::read(d_slice);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
    d_table.insert(d_table.end(), d_part.begin(), d_part.end());
  }
  CHECK(sum == test::read(expected));
  CHECK(d_table == test::read(d_whole));
}

TEST_CASE("ids are drawn where the cumulative probability passes a number", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(32);
  const std::int64_t vocabulary = GENERATE(1, 5, 700, 3000);
  const std::int64_t rows = 300;
  const OwnedTensor logits = random_tensor({rows, vocabulary}, random, DType::f32, 3);
  const std::int64_t possible =
      vocabulary - vocabulary / 20;  // of the second row, whose last ids nothing draws
  for (std::int64_t i = possible; i < vocabulary; ++i) logits->floats()[vocabulary + i] = -60;
  std::vector<double> shifts, shares;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(rows), -1);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (std::int64_t row = 0; row < rows; ++row) {
    shifts.push_back(log_sum64(row64(logits, row)));
    shares.push_back(row == 0 ? 0.0 : row == 1 ? 1.0 : uniform(random));
  }
  ops::draw_ids(context, on(device, logits), shifts, shares, ids);
  CHECK(ids[0] == 0);
  CHECK(ids[1] >= vocabulary * 9 / 10);  // nothing but rounding is beyond
  CHECK(ids[1] < possible);
  for (std::size_t row = 2; row < ids.size(); ++row) {
    const Values values = row64(logits, static_cast<std::int64_t>(row));
    double before = 0, up_to = 0;
    for (std::int64_t i = 0; i <= ids[row]; ++i) {
      before = up_to;
      up_to += std::exp(values[static_cast<std::size_t>(i)] - shifts[row]);
    }
    CHECK(before <= shares[row] + 1e-5);
    CHECK(up_to > shares[row] - 1e-5);
  }
}
