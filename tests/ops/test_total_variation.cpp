#include "ops/columns.hpp"
#include "ops/devices.hpp"

#include <galapagos/ops/divergence.hpp>
#include <galapagos/ops/total_variation.hpp>

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
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double value : logits) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

/// One minus what the two distributions have in common, in fp64.
double distance64(const Values& p, const Values& q) {
  const double p_log = log_sum64(p), q_log = log_sum64(q);
  double common = 0;
  for (std::size_t i = 0; i < p.size(); ++i)
    common += std::min(std::exp(p[i] - p_log), std::exp(q[i] - q_log));
  return 1 - common;
}

Values distances(const ops::Context& context, const Tensor& dense, const Tensor& other) {
  const OwnedTensor p = on(context.device(), dense), q = on(context.device(), other),
                    scale = test::poisoned_on(context.device(), {dense.rows(), 2});
  ops::softmax_scale(context, p, scale);
  Values found(static_cast<std::size_t>(dense.rows()), NAN);
  ops::total_variation(context, p, scale, q, found);
  return found;
}

/// The gradient of sum(weights[i] * distance of row i) by the second model's logits.
std::vector<float> gradient(const ops::Context& context, const Tensor& dense, const Tensor& other,
                            const std::vector<float>& weights) {
  const OwnedTensor p = on(context.device(), dense), q = on(context.device(), other),
                    scale = test::poisoned_on(context.device(), {dense.rows(), 2});
  ops::softmax_scale(context, p, scale);
  ops::total_variation_backward(context, p, scale, weights, q);
  return test::read(q);
}

/// By central differences, weight times that of a row.
Values difference64(const Values& p, Values q, double weight) {
  constexpr double h = 1e-6;
  Values found;
  for (double& logit : q) {
    const double kept = logit;
    logit = kept + h;
    const double above = distance64(p, q);
    logit = kept - h;
    found.push_back(weight * (above - distance64(p, q)) / (2 * h));
    logit = kept;
  }
  return found;
}

double furthest(const std::vector<float>& found, const Values& wanted) {
  double worst = found.size() == wanted.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < found.size() && i < wanted.size(); ++i) {
    const double error = std::abs(static_cast<double>(found[i]) - wanted[i]);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

}  // namespace

TEST_CASE("total variation distances of two models' answers", "[ops]") {
  const ops::Context context(GENERATE_DEVICE());
  std::mt19937 random(41);
  const std::int64_t rows = 5;
  for (const std::int64_t vocabulary : {1, 2, 31, 777, 5000, 130000}) {
    for (const float spread : {0.01f, 3.0f, 60.0f}) {
      const OwnedTensor dense = random_tensor({rows, vocabulary}, random, DType::f32, spread),
                        other = random_tensor({rows, vocabulary}, random, DType::f32, spread);
      // Logits far from 0, as a model may have them, and a small change of the others.
      for (std::int64_t i = 0; i < vocabulary; ++i) {
        dense->floats()[i] += 400;
        other->floats()[i] -= 700;
        other->floats()[vocabulary + i] = dense->floats()[vocabulary + i] * 1.001f;
      }
      const Values found = distances(context, dense, other);
      for (std::int64_t row = 0; row < rows; ++row) {
        const double expected = distance64(row64(dense, row), row64(other, row));
        INFO(vocabulary << " ids, spread " << spread << ", row " << row << ": "
                        << found[static_cast<std::size_t>(row)] << " and " << expected);
        CHECK(std::abs(found[static_cast<std::size_t>(row)] - expected) < 2e-6);
        CHECK(found[static_cast<std::size_t>(row)] <= 1);
      }
      CHECK(distances(context, dense, dense) == Values(static_cast<std::size_t>(rows), 0.0));
      const std::vector<float> level =
          gradient(context, dense, dense, std::vector<float>(static_cast<std::size_t>(rows), 1.0f));
      CHECK(std::all_of(level.begin(), level.end(), [](float slope) { return slope == 0; }));
    }
  }
}

TEST_CASE("distributions that share no token are 1 apart, and what is not a number stays so", "[ops]") {
  const ops::Context context(GENERATE_DEVICE());
  const std::int64_t rows = 4, vocabulary = 1000;
  const OwnedTensor dense({rows, vocabulary}, DType::f32, Device::cpu, "test"),
      other({rows, vocabulary}, DType::f32, Device::cpu, "test");
  for (std::int64_t i = 0; i < rows * vocabulary; ++i) {
    const bool first_half = i % vocabulary < vocabulary / 2;
    dense->floats()[i] = first_half ? 90 : -90;
    other->floats()[i] = first_half ? -3e38f : 3e38f;
  }
  other->floats()[vocabulary + 7] = NAN;
  other->floats()[2 * vocabulary + 7] = INFINITY;
  dense->floats()[3 * vocabulary + 7] = NAN;
  const Values found = distances(context, dense, other);
  CHECK(found[0] > 1 - 1e-6);
  CHECK(found[0] <= 1);
  for (std::size_t row = 1; row < 4; ++row) CHECK_FALSE(std::isfinite(found[row]));
}

TEST_CASE("the gradient of the total variation distance", "[ops]") {
  const ops::Context context(GENERATE_DEVICE());
  std::mt19937 random(42);
  const std::vector<float> weights = {0.5f, 0.0f, 2.0f, 1.0f};
  for (const std::int64_t vocabulary : {1, 3, 50, 700}) {
    const OwnedTensor dense = random_tensor({4, vocabulary}, random, DType::f32, 2),
                      other = random_tensor({4, vocabulary}, random, DType::f32, 2);
    Values expected;
    for (std::int64_t row = 0; row < 4; ++row) {
      const Values of_row = difference64(row64(dense, row), row64(other, row),
                                         static_cast<double>(weights[static_cast<std::size_t>(row)]));
      expected.insert(expected.end(), of_row.begin(), of_row.end());
    }
    INFO(vocabulary);
    CHECK(furthest(gradient(context, dense, other, weights), expected) < 1e-6);
  }
}

TEST_CASE("total variation distances and their gradient from slices of the vocabulary", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(43);
  const std::int64_t rows = 4, vocabulary = 700;
  const auto count = static_cast<std::size_t>(rows);
  const OwnedTensor dense = random_tensor({rows, vocabulary}, random, DType::f32, 3),
                    other = random_tensor({rows, vocabulary}, random, DType::f32, 3);
  std::copy_n(dense->floats(), vocabulary, other->floats());
  for (std::int64_t i = 0; i < vocabulary; ++i) dense->floats()[vocabulary + i] += 500;
  const std::vector<float> weights = {1.5f, 1.0f, 0.0f, 2.0f};
  Values p_log, q_log, sums(2 * count, 0.0), leanings;
  for (std::int64_t row = 0; row < rows; ++row) {
    p_log.push_back(log_sum64(row64(dense, row)));
    q_log.push_back(log_sum64(row64(other, row)));
  }
  struct Slice {
    std::int64_t first, last;
  };
  const std::vector<Slice> slices = {{0, 1}, {1, 300}, {300, 300}, {300, 700}};  // one is empty
  const auto here = [&](const Tensor& whole, const Slice& slice) {
    return on(device, columns_of(whole, slice.first, slice.last));
  };
  for (const Slice& slice : slices) {
    Values parts(2 * count, NAN);
    ops::slice_variation(context, here(dense, slice), p_log, here(other, slice), q_log, parts);
    for (std::size_t i = 0; i < parts.size(); ++i) sums[i] += parts[i];
  }
  const Values whole = distances(context, dense, other);
  CHECK(sums[0] == 0);
  for (std::size_t row = 0; row < count; ++row) {
    CHECK(std::abs(sums[2 * row] / 2 - whole[row]) < 1e-6);
    leanings.push_back(sums[2 * row + 1]);
  }
  const std::vector<float> expected = gradient(context, dense, other, weights);
  for (const Slice& slice : slices) {
    const OwnedTensor q = here(other, slice);
    ops::slice_variation_backward(context, here(dense, slice), p_log, leanings, weights, q_log, q);
    Values wanted;
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto begin = expected.begin() + row * vocabulary;
      wanted.insert(wanted.end(), begin + slice.first, begin + slice.last);
    }
    CHECK(furthest(test::read(q), wanted) < 1e-6);
  }
}
