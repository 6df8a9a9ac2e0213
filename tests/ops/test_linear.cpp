#include "ops/devices.hpp"

#include <cmath>
#include <omp.h>

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/linear.hpp>

using namespace galapagos;
using test::on;
using test::poisoned;
using test::poisoned_on;
using test::random_tensor;
using test::read;
using test::relative_error;
using test::rounded;
using test::values_of;
using test::zeros_on;

namespace {

/// What both operands are rounded to, which happens on a GPU alone.
DType operands_on(Device device, DType weight, DType products) {
  return device == Device::cpu ? DType::f32 : weight == DType::f32 ? products : DType::bf16;
}

OwnedTensor first_rows(const Tensor& tensor, std::int64_t rows) {
  OwnedTensor part({rows, tensor.columns()}, DType::f32, Device::cpu, "test");
  std::copy_n(tensor.floats(), part->elements(), part->floats());
  return part;
}

/// start + x W^T + b in fp64 of tensors in fp32; an empty vector counts as zeros.
std::vector<double> product(const Tensor& x, const Tensor& weight, const std::vector<float>& bias,
                            const std::vector<float>& start) {
  std::vector<double> y(static_cast<std::size_t>(x.rows() * weight.rows()));
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    for (std::int64_t o = 0; o < weight.rows(); ++o) {
      const auto at = static_cast<std::size_t>(t * weight.rows() + o);
      if (!start.empty()) y[at] += start[at];
      if (!bias.empty()) y[at] += bias[static_cast<std::size_t>(o)];
      for (std::int64_t i = 0; i < x.columns(); ++i)
        y[at] +=
            static_cast<double>(x.floats()[t * x.columns() + i]) * weight.floats()[o * weight.columns() + i];
    }
  }
  return y;
}

/// The largest difference; infinite where anything is not a number.
double farthest(const std::vector<float>& found, const std::vector<double>& wanted) {
  if (found.size() != wanted.size()) return INFINITY;
  double most = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double difference = std::abs(found[i] - wanted[i]);
    most = std::isnan(difference) ? INFINITY : std::max(most, difference);
  }
  return most;
}

}  // namespace

TEST_CASE("linear is x W^T + b, in any storage type and shape", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const DType products = GENERATE(DType::f32, DType::bf16);
  std::mt19937 random(1);
  const ops::Context context(device, 0, products);
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    const DType operands = operands_on(device, type, products);
    for (const auto& [tokens, in, out] :
         {std::tuple{1, 1, 1}, {3, 5, 7}, {0, 4, 4}, {4, 0, 6}, {65, 130, 257}, {2, 33, 1000}}) {
      for (const bool with_bias : {false, true}) {
        for (const bool accumulate : {false, true}) {
          const OwnedTensor x = random_tensor({tokens, in}, random);
          const OwnedTensor weight = random_tensor({out, in}, random, type);
          const OwnedTensor bias = random_tensor({out}, random, type);
          const OwnedTensor y =
              on(device, accumulate ? random_tensor({tokens, out}, random) : poisoned({tokens, out}));
          const std::vector<float> before = read(y);
          const OwnedTensor bias_there = on(device, bias);
          ops::linear(context, on(device, x), on(device, weight), with_bias ? &bias_there.view() : nullptr, y,
                      accumulate);
          CHECK(farthest(read(y), product(rounded(x, operands), rounded(weight, operands),
                                          with_bias ? values_of(bias) : std::vector<float>(),
                                          accumulate ? before : std::vector<float>())) < 1e-4);
        }
      }
    }
  }
}

TEST_CASE("a few tokens and one more than a few have the same products", "[ops]") {
  // On the CPU up to 8 tokens go another way than more, four rows of the weight at a time: 8 and 9 tokens
  // that begin alike, over widths that leave rows and columns over, and over the edge of a tile.
  const Device device = GENERATE_DEVICE();
  const DType products = GENERATE(DType::f32, DType::bf16);
  std::mt19937 random(5);
  const ops::Context context(device, 0, products);
  constexpr std::int64_t few = 8;
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    const DType operands = operands_on(device, type, products);
    for (const auto& [in, out] :
         {std::pair{1, 1}, {1, 9}, {7, 3}, {33, 5}, {257, 131}, {64, 516}, {515, 1031}}) {
      const OwnedTensor all = random_tensor({few + 1, in}, random);
      const OwnedTensor weight = on(device, random_tensor({out, in}, random, type));
      const OwnedTensor bias = on(device, random_tensor({out}, random, type));
      const OwnedTensor start = random_tensor({few + 1, out}, random);
      for (const bool with_bias : {false, true}) {
        for (const bool accumulate : {false, true}) {
          CAPTURE(in, out, name_of(type), with_bias, accumulate);
          std::vector<std::vector<float>> found;
          for (std::int64_t tokens = few - 1; tokens <= few + 1; ++tokens) {
            const OwnedTensor x = first_rows(all, tokens);
            const OwnedTensor y =
                on(device, accumulate ? first_rows(start, tokens) : poisoned({tokens, out}));
            ops::linear(context, on(device, x), weight, with_bias ? &bias.view() : nullptr, y, accumulate);
            found.push_back(read(y));
            CHECK(farthest(found.back(), product(rounded(x, operands), rounded(weight, operands),
                                                 with_bias ? read(bias) : std::vector<float>(),
                                                 accumulate ? values_of(first_rows(start, tokens))
                                                            : std::vector<float>())) < 1e-4);
          }
          found[2].resize(found[1].size());
          CHECK(relative_error(found[1], found[2]) < 1e-6);
          found[1].resize(found[0].size());
          CHECK(relative_error(found[0], found[1]) < 1e-6);
        }
      }
    }
  }
}

TEST_CASE("products of one factor are those of its matrix", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(4);
  const OwnedTensor x = on(device, random_tensor({19, 40}, random));
  const ops::Factor factor(x);
  // Types that come back after another, too.
  for (const DType type : {DType::bf16, DType::bf16, DType::f32, DType::f16, DType::bf16}) {
    const OwnedTensor weight = on(device, random_tensor({23, 40}, random, type));
    const OwnedTensor together = poisoned_on(device, {19, 23}), alone = poisoned_on(device, {19, 23});
    ops::linear(context, factor, weight, nullptr, together);
    ops::linear(context, x, weight, nullptr, alone);
    CHECK(read(together) == read(alone));
  }
  const OwnedTensor d_y = on(device, random_tensor({19, 23}, random));
  const OwnedTensor together = zeros_on(device, {23, 40}), alone = zeros_on(device, {23, 40});
  ops::linear_weight_gradient(context, d_y, factor, together);
  ops::linear_weight_gradient(context, d_y, x, alone);
  CHECK(read(together) == read(alone));
}

TEST_CASE("the Gram matrix sums up over calls", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const DType products = GENERATE(DType::f32, DType::bf16);
  std::mt19937 random(2);
  const ops::Context context(device, 0, products);
  for (const std::int64_t n : {1, 17, 64, 700, 1100}) {
    const OwnedTensor h = zeros_on(device, {n, n});
    std::vector<double> expected(static_cast<std::size_t>(n * n), 0.0);
    for (const std::int64_t tokens : {1, 0, 33}) {
      const OwnedTensor made = random_tensor({tokens, n}, random);
      const OwnedTensor x = rounded(made, device == Device::cpu ? DType::f32 : products);
      ops::accumulate_gram(context, on(device, made), 0.5f, h);
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j <= i; ++j) {
          for (std::int64_t t = 0; t < tokens; ++t) {
            expected[static_cast<std::size_t>(i * n + j)] +=
                0.5 * static_cast<double>(x->floats()[t * n + i]) * x->floats()[t * n + j];
          }
        }
      }
    }
    const std::vector<float> found = read(h);
    double worst = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        const auto at = static_cast<std::size_t>(i * n + j);
        worst = std::isnan(found[at]) ? INFINITY : std::max(worst, std::abs(expected[at] - found[at]));
      }
    }
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("the number of threads does not change a bit", "[ops]") {
  std::mt19937 random(3);
  const ops::Context context;
  const OwnedTensor x = random_tensor({70, 600}, random), weight = random_tensor({900, 600}, random);
  const int before = omp_get_max_threads();
  std::vector<std::vector<float>> products, grams;
  for (const int threads : {1, 2, 3, 5}) {
    omp_set_num_threads(threads);
    const OwnedTensor y = poisoned({70, 900});
    ops::linear(context, x, weight, nullptr, y);
    products.push_back(values_of(y));
    const OwnedTensor h({600, 600}, DType::f32, Device::cpu, "test");
    fill_zero(h);
    ops::accumulate_gram(context, x, 1, h);
    grams.push_back(values_of(h));
  }
  omp_set_num_threads(before);
  for (std::size_t i = 1; i < products.size(); ++i) {
    CHECK(products[i] == products[0]);
    CHECK(grams[i] == grams[0]);
  }
}
