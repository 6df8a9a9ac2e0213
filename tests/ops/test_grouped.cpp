// The products of all experts at once, against those in fp64 and, bit by bit on the CPU, against one expert
// after the other.
#include "ops/devices.hpp"

#include <cmath>
#include <omp.h>

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/grouped.hpp>
#include <galapagos/ops/linear.hpp>

using namespace galapagos;
using test::on;
using test::poisoned_on;
using test::random_tensor;
using test::read;
using test::rounded;
using test::stored_on;

namespace {

/// Experts with none, one, few and many rows, some of no width.
struct Example {
  Example(std::vector<std::int64_t> in_widths, std::vector<std::int64_t> out_widths, DType type)
      : in(std::move(in_widths)), out(std::move(out_widths)) {
    std::mt19937 random(23);
    for (std::size_t e = 0; e < in.size(); ++e) {
      weights.push_back(random_tensor({out[e], in[e]}, random, type));
      inputs += rows_of(e) * in[e];
      outputs += rows_of(e) * out[e];
    }
    x = random_tensor({inputs}, random);
    y = random_tensor({outputs}, random);
  }

  std::int64_t rows_of(std::size_t expert) const { return rows[expert + 1] - rows[expert]; }
  std::vector<OwnedTensor> weights_on(Device device) const {
    std::vector<OwnedTensor> copies;
    for (const OwnedTensor& weight : weights) copies.push_back(on(device, weight));
    return copies;
  }

  /// Calls work(expert, its first input, its first output).
  template <typename Work>
  void for_experts(const Work& work) const {
    std::int64_t input = 0, output = 0;
    for (std::size_t e = 0; e < in.size(); ++e) {
      work(e, input, output);
      input += rows_of(e) * in[e];
      output += rows_of(e) * out[e];
    }
  }

  std::vector<std::int64_t> rows = {0, 9, 9, 10, 13, 46, 50, 121};
  std::vector<std::int64_t> in, out;
  std::vector<OwnedTensor> weights;
  std::int64_t inputs = 0, outputs = 0;
  OwnedTensor x, y;  // the operands of all products: inputs, and outputs or their gradients
};

/// As gate_proj and up_proj have it, whose inputs are alike, and as down_proj has it.
Example example_of(bool down, DType type) {
  const std::vector<std::int64_t> widths = {37, 64, 1, 0, 130, 8, 3}, hidden(7, 33);
  return down ? Example(widths, hidden, type) : Example(hidden, widths, type);
}

std::vector<Tensor> views(const std::vector<OwnedTensor>& tensors) {
  return {tensors.begin(), tensors.end()};
}

/// What both operands are rounded to on a GPU.
DType operands_on(Device device, DType weight, DType products) {
  return device == Device::cpu ? DType::f32 : weight == DType::f32 ? products : DType::bf16;
}

/// Whether nothing is farther from what is wanted than its terms may make it.
void check_near(const std::vector<float>& found, const std::vector<double>& wanted, double tolerance) {
  REQUIRE(found.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i)
    CHECK(static_cast<double>(found[i]) == Approx(wanted[i]).epsilon(tolerance).margin(20 * tolerance));
}

Tensor part(const Tensor& all, std::int64_t first, std::int64_t rows, std::int64_t columns) {
  return all.view({all.elements()}).slice(first, rows * columns).view({rows, columns});
}

struct Setting {
  Device device;
  DType weight, products;
  bool down, accumulate;
};

Setting setting() {
  Setting chosen{GENERATE_DEVICE(), GENERATE(DType::f32, DType::bf16, DType::f16), DType::f32,
                 GENERATE(false, true), GENERATE(false, true)};
  chosen.products = chosen.device == Device::cpu ? DType::f32 : GENERATE(DType::f32, DType::bf16);
  if (chosen.device == Device::cuda) chosen.weight = ops::working_type(chosen.device, chosen.weight);
  return chosen;
}

}  // namespace

TEST_CASE("products of all experts are those of each", "[ops][mixture]") {
  const auto [device, type, products, down, accumulate] = setting();
  const ops::Context context(device, 0, products);
  const Example example = example_of(down, type);
  const std::vector<OwnedTensor> weights = example.weights_on(device);
  const DType operand = operands_on(device, type, products);
  const OwnedTensor x = rounded(example.x, operand);
  std::vector<double> wanted(static_cast<std::size_t>(example.outputs), 0.0);
  example.for_experts([&](std::size_t e, std::int64_t first_in, std::int64_t first_out) {
    const OwnedTensor weight = rounded(example.weights[e], operand);
    for (std::int64_t row = 0; row < example.rows_of(e); ++row) {
      for (std::int64_t o = 0; o < example.out[e]; ++o) {
        const std::int64_t at = first_out + row * example.out[e] + o;
        double sum = accumulate ? static_cast<double>(example.y->floats()[at]) : 0.0;
        for (std::int64_t i = 0; i < example.in[e]; ++i)
          sum += static_cast<double>(x->floats()[first_in + row * example.in[e] + i]) *
                 static_cast<double>(weight->floats()[o * example.in[e] + i]);
        wanted[static_cast<std::size_t>(at)] = sum;
      }
    }
  });
  const auto start = [&] {
    return accumulate ? on(device, example.y) : poisoned_on(device, example.y->shape);
  };
  // The same weights twice, as two products that share their rows.
  const OwnedTensor one = start(), other = start();
  const ops::GroupedProduct twice[] = {{views(weights), one}, {views(weights), other}};
  const OwnedTensor from = on(device, example.x);
  ops::grouped_linear(context, from, example.rows, twice, accumulate);
  check_near(read(one), wanted, 1e-5);
  CHECK(read(other) == read(one));
  if (device == Device::cuda) return;
  const OwnedTensor each = start();
  example.for_experts([&](std::size_t e, std::int64_t first_in, std::int64_t first_out) {
    ops::linear(context, part(from, first_in, example.rows_of(e), example.in[e]), weights[e], nullptr,
                part(each, first_out, example.rows_of(e), example.out[e]), accumulate);
  });
  CHECK(read(each) == read(one));
}

TEST_CASE("gradients by the inputs of all experts are those of each", "[ops][mixture]") {
  const auto [device, type, products, down, accumulate] = setting();
  const ops::Context context(device, 0, products);
  const Example example = example_of(down, type);
  const std::vector<OwnedTensor> weights = example.weights_on(device);
  const DType operand = operands_on(device, type, products);
  const OwnedTensor d_y = rounded(example.y, operand);
  std::vector<double> wanted(static_cast<std::size_t>(example.inputs), 0.0);
  example.for_experts([&](std::size_t e, std::int64_t first_in, std::int64_t first_out) {
    const OwnedTensor weight = rounded(example.weights[e], operand);
    for (std::int64_t row = 0; row < example.rows_of(e); ++row) {
      for (std::int64_t i = 0; i < example.in[e]; ++i) {
        const std::int64_t at = first_in + row * example.in[e] + i;
        double sum = accumulate ? static_cast<double>(example.x->floats()[at]) : 0.0;
        for (std::int64_t o = 0; o < example.out[e]; ++o)
          sum += static_cast<double>(d_y->floats()[first_out + row * example.out[e] + o]) *
                 static_cast<double>(weight->floats()[o * example.in[e] + i]);
        wanted[static_cast<std::size_t>(at)] = sum;
      }
    }
  });
  const auto start = [&] {
    return accumulate ? on(device, example.x) : poisoned_on(device, example.x->shape);
  };
  const OwnedTensor d_x = start(), from = on(device, example.y);
  ops::grouped_input_gradient(context, from, example.rows, views(weights), d_x, accumulate);
  check_near(read(d_x), wanted, 1e-5);
  if (device == Device::cuda) return;
  const OwnedTensor each = start();
  example.for_experts([&](std::size_t e, std::int64_t first_in, std::int64_t first_out) {
    ops::linear_input_gradient(context, part(from, first_out, example.rows_of(e), example.out[e]), weights[e],
                               part(each, first_in, example.rows_of(e), example.in[e]), accumulate);
  });
  CHECK(read(each) == read(d_x));
}

TEST_CASE("gradients by the weights of all experts are those of each", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const DType products = device == Device::cpu ? DType::f32 : GENERATE(DType::f32, DType::bf16);
  const ops::Context context(device, 0, products);
  const Example example = example_of(GENERATE(false, true), DType::f32);
  const OwnedTensor d_y = rounded(example.y, products), x = rounded(example.x, products);
  const std::vector<OwnedTensor> sums = example.weights_on(device), each = example.weights_on(device);
  const OwnedTensor by_output = on(device, example.y), from = on(device, example.x);
  ops::grouped_weight_gradient(context, by_output, from, example.rows, views(sums));
  example.for_experts([&](std::size_t e, std::int64_t first_in, std::int64_t first_out) {
    std::vector<double> wanted(static_cast<std::size_t>(example.out[e] * example.in[e]));
    for (std::int64_t o = 0; o < example.out[e]; ++o) {
      for (std::int64_t i = 0; i < example.in[e]; ++i) {
        const std::int64_t at = o * example.in[e] + i;
        double sum = static_cast<double>(example.weights[e]->floats()[at]);
        for (std::int64_t row = 0; row < example.rows_of(e); ++row)
          sum += static_cast<double>(d_y->floats()[first_out + row * example.out[e] + o]) *
                 static_cast<double>(x->floats()[first_in + row * example.in[e] + i]);
        wanted[static_cast<std::size_t>(at)] = sum;
      }
    }
    check_near(read(sums[e]), wanted, 1e-5);
    if (device == Device::cuda) return;
    ops::linear_weight_gradient(context, part(by_output, first_out, example.rows_of(e), example.out[e]),
                                part(from, first_in, example.rows_of(e), example.in[e]), each[e]);
    CHECK(read(each[e]) == read(sums[e]));
  });
}

TEST_CASE("products of experts in 16 bits, aligned or not, are those of each", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  if (device == Device::cpu) return;  // whose activations are fp32
  const ops::Context context(device, 0, DType::bf16);
  // From the third expert on the first widths are not aligned to 16 bytes.
  const std::vector<std::int64_t> hidden(7, 64);
  const Example example(
      hidden,
      GENERATE(std::vector<std::int64_t>{64, 8, 37, 24, 128, 8, 16}, std::vector<std::int64_t>(7, 64)),
      DType::bf16);
  const std::vector<OwnedTensor> weights = example.weights_on(device);
  const OwnedTensor x = stored_on(device, example.x, DType::bf16),
                    y = stored_on(device, example.y, DType::bf16);
  const OwnedTensor together = stored_on(device, example.y, DType::bf16);
  const OwnedTensor d_x = stored_on(device, example.x, DType::bf16),
                    d_each = stored_on(device, example.x, DType::bf16);
  const ops::GroupedProduct product{views(weights), together};
  ops::grouped_linear(context, x, example.rows, {&product, 1});
  ops::grouped_input_gradient(context, together, example.rows, views(weights), d_x, true);
  example.for_experts([&](std::size_t e, std::int64_t first_in, std::int64_t first_out) {
    const Tensor own = part(y, first_out, example.rows_of(e), example.out[e]);
    ops::linear(context, part(x, first_in, example.rows_of(e), example.in[e]), weights[e], nullptr, own);
    ops::linear_input_gradient(context, part(together, first_out, example.rows_of(e), example.out[e]),
                               weights[e], part(d_each, first_in, example.rows_of(e), example.in[e]), true);
  });
  CHECK(test::relative_error(read(together), read(y)) < 4e-3);
  CHECK(test::relative_error(read(d_x), read(d_each)) < 4e-3);
}

TEST_CASE("products of experts do not depend on the number of threads", "[ops][mixture]") {
  const Example example = example_of(GENERATE(false, true), GENERATE(DType::f32, DType::bf16));
  const int before = omp_get_max_threads();
  std::vector<std::vector<float>> first;
  for (const int threads : {1, 2, 5}) {
    const ops::Context context(Device::cpu, threads);
    const OwnedTensor y = on(Device::cpu, example.y), d_x = on(Device::cpu, example.x);
    const std::vector<OwnedTensor> sums = [&] {
      std::vector<OwnedTensor> wide;
      for (const OwnedTensor& weight : example.weights) wide.push_back(rounded(weight, DType::f32));
      return wide;
    }();
    const ops::GroupedProduct product{views(example.weights), y};
    ops::grouped_linear(context, example.x, example.rows, {&product, 1}, true);
    ops::grouped_input_gradient(context, example.y, example.rows, views(example.weights), d_x, true);
    ops::grouped_weight_gradient(context, example.y, example.x, example.rows, views(sums));
    std::vector<std::vector<float>> found = {read(y), read(d_x)};
    for (const OwnedTensor& sum : sums) found.push_back(read(sum));
    if (first.empty()) first = found;
    CHECK(found == first);
  }
  omp_set_num_threads(before);
}
