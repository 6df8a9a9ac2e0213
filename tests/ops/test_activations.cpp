// Operations on activations in bf16 and fp32 on a GPU, against the CPU backend in fp32 on the same values:
// what differs is the rounding of the result. The widths have and have not room for packs, and are more and
// less than threads keep in registers.
#include "ops/devices.hpp"

#include <cmath>
#include <functional>

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/head_norm.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>

using namespace galapagos;
using test::on;
using test::random_tensor;
using test::read;
using test::relative_error;
using test::rounded;
using test::stored_on;

namespace {

/// A tensor of NaN of any type.
OwnedTensor poison(Shape shape, DType type) {
  return stored_on(Device::cuda, test::poisoned(shape), type);
}

/// The largest |found - wanted|, in units of what rounding one value to `type` may cost, of fp32 a few such
/// roundings on values as large as the largest.
double worst_rounding(const Tensor& found, const Tensor& wanted) {
  const std::vector<float> f = read(found), w = read(wanted);
  double largest = 0, worst = f.size() == w.size() ? 0 : INFINITY;
  for (const float value : w) largest = std::max(largest, std::abs(static_cast<double>(value)));
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double unit = (found.dtype == DType::f32 ? 0 : std::abs(static_cast<double>(w[i])) * 0x1p-8) +
                        largest * 2e-6 + 1e-30;
    const double error = std::abs(static_cast<double>(f[i]) - w[i]) / unit;
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

const ops::Context& cpu() {
  static const ops::Context context;
  return context;
}

/// fp32 values that `type` holds, in host memory.
OwnedTensor made(Shape shape, std::mt19937& random, DType type, float scale = 1) {
  return rounded(random_tensor(shape, random, DType::f32, scale), type);
}

OwnedTensor copy(const Tensor& tensor) {
  return on(Device::cpu, tensor);
}

}  // namespace

TEST_CASE("a norm and its gradient, of any width", "[ops]") {
  if (test::without_gpu()) return;
  const ops::Context gpu(Device::cuda, 0, DType::bf16);
  std::mt19937 random(1);
  for (const std::int64_t hidden : {7, 64, 333, 2048, 4104, 8200, 9000, 9001}) {
    for (const DType stored : {DType::f32, DType::bf16}) {
      const Shape shape{5, hidden};
      const OwnedTensor x = random_tensor(shape, random, DType::f32, 3),
                        weight = random_tensor({hidden}, random, stored), wanted = test::poisoned(shape);
      ops::rms_norm(cpu(), x, weight, 1e-5f, wanted);
      INFO("width " << hidden);
      for (const DType type : {DType::f32, DType::bf16}) {
        const OwnedTensor found = poison(shape, type);
        ops::rms_norm(gpu, on(Device::cuda, x), on(Device::cuda, weight), 1e-5f, found);
        CHECK(worst_rounding(found, wanted) < 1);
      }
      const OwnedTensor in_place = on(Device::cuda, x);
      ops::rms_norm(gpu, in_place, on(Device::cuda, weight), 1e-5f, in_place);
      CHECK(worst_rounding(in_place, wanted) < 1);

      const OwnedTensor d_y = random_tensor(shape, random), before = random_tensor(shape, random),
                        sums = random_tensor({hidden}, random);
      const OwnedTensor d_x = copy(before), d_weight = copy(sums), d_x_there = on(Device::cuda, before),
                        d_weight_there = on(Device::cuda, sums);
      ops::rms_norm_backward(cpu(), x, weight, 1e-5f, d_y, d_x, d_weight);
      ops::rms_norm_backward(gpu, on(Device::cuda, x), on(Device::cuda, weight), 1e-5f, on(Device::cuda, d_y),
                             d_x_there, d_weight_there);
      CHECK(worst_rounding(d_x_there, d_x) < 1);
      CHECK(worst_rounding(d_weight_there, d_weight) < 1);
    }
  }
}

TEST_CASE("the norm of heads and its gradient, of any width", "[ops]") {
  if (test::without_gpu()) return;
  const ops::Context gpu(Device::cuda, 0, DType::bf16);
  std::mt19937 random(5);
  for (const std::int64_t head_dim : {6, 64, 80, 128, 256}) {
    for (const std::int64_t tokens : {1, 37, 3000}) {
      const Shape shape{tokens, 5 * head_dim};
      for (const DType type : {DType::f32, DType::bf16}) {
        INFO("heads of " << head_dim << ", " << tokens << " tokens, " << name_of(type));
        const OwnedTensor x = made(shape, random, type), d = made(shape, random, type),
                          weight = random_tensor({head_dim}, random),
                          sums = random_tensor({head_dim}, random);
        const OwnedTensor weight_there = on(Device::cuda, weight), x_there = stored_on(Device::cuda, x, type),
                          d_there = stored_on(Device::cuda, d, type), out = test::poisoned(shape),
                          out_there = poison(shape, type), d_weight = copy(sums),
                          d_weight_there = on(Device::cuda, sums);
        ops::head_norm(cpu(), x, weight, 1e-5f, out);
        ops::head_norm(gpu, x_there, weight_there, 1e-5f, out_there);
        CHECK(worst_rounding(out_there, out) < 1);
        ops::head_norm_backward(cpu(), x, weight, 1e-5f, d, d_weight);
        ops::head_norm_backward(gpu, x_there, weight_there, 1e-5f, d_there, d_weight_there);
        CHECK(worst_rounding(d_there, d) < 1);
        CHECK(worst_rounding(d_weight_there, d_weight) < 1);
      }
    }
  }
}

TEST_CASE("the rotation of queries and keys, and back", "[ops]") {
  if (test::without_gpu()) return;
  const ops::Context gpu(Device::cuda, 0, DType::bf16);
  std::mt19937 random(2);
  const std::vector<std::int64_t> offsets = {0, 4, 4, 300};
  for (const std::int64_t head_dim : {6, 16, 64, 80, 128}) {
    const std::int64_t pairs = head_dim == 80 ? 24 : head_dim == 128 ? 33 : head_dim / 2;  // all, or some
    const float scale = head_dim == 64 ? 1.25f : 1.0f;
    const OwnedTensor frequencies({pairs}, DType::f32, Device::cpu, "test");
    for (std::int64_t i = 0; i < pairs; ++i) frequencies->floats()[i] = std::pow(0.7f, static_cast<float>(i));
    const OwnedTensor there = on(Device::cuda, frequencies);
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const std::int64_t kv_heads : {2, 0}) {
        const OwnedTensor q = made({300, 5 * head_dim}, random, type),
                          k = made({300, kv_heads * head_dim}, random, type);
        const OwnedTensor q_there = stored_on(Device::cuda, q, type),
                          k_there = stored_on(Device::cuda, k, type);
        INFO("heads of " << head_dim << ", " << name_of(type));
        ops::rope(cpu(), q, k, head_dim, frequencies, offsets, scale);
        ops::rope(gpu, q_there, k_there, head_dim, there, offsets, scale);
        // The angles' sines are as exact as each library makes them.
        CHECK(worst_rounding(q_there, q) < 2);
        if (kv_heads > 0) CHECK(worst_rounding(k_there, k) < 2);
        const OwnedTensor d_q = made(q->shape, random, type), d_k = made(k->shape, random, type);
        const OwnedTensor d_q_there = stored_on(Device::cuda, d_q, type),
                          d_k_there = stored_on(Device::cuda, d_k, type);
        ops::rope_backward(cpu(), d_q, d_k, head_dim, frequencies, offsets, scale);
        ops::rope_backward(gpu, d_q_there, d_k_there, head_dim, there, offsets, scale);
        CHECK(worst_rounding(d_q_there, d_q) < 2);
        if (kv_heads > 0) CHECK(worst_rounding(d_k_there, d_k) < 2);
      }
    }
  }
}

TEST_CASE("the gated activation and its gradients", "[ops]") {
  if (test::without_gpu()) return;
  const ops::Context gpu(Device::cuda, 0, DType::bf16);
  std::mt19937 random(3);
  for (const std::int64_t columns : {1, 40, 333, 5000}) {
    for (const DType type : {DType::f32, DType::bf16}) {
      const Shape shape{3, columns};
      const OwnedTensor gate = made(shape, random, type, 4), up = made(shape, random, type),
                        d_y = made(shape, random, type), wanted = test::poisoned(shape);
      const OwnedTensor gate_there = stored_on(Device::cuda, gate, type),
                        up_there = stored_on(Device::cuda, up, type), found = poison(shape, type),
                        in_place = stored_on(Device::cuda, gate, type);
      INFO(columns << " columns, " << name_of(type));
      ops::swiglu(cpu(), gate, up, wanted);
      ops::swiglu(gpu, gate_there, up_there, found);
      ops::swiglu(gpu, in_place, up_there, in_place);
      CHECK(worst_rounding(found, wanted) < 1);
      CHECK(read(in_place) == read(found));
      ops::swiglu_backward(cpu(), d_y, gate, up);
      ops::swiglu_backward(gpu, stored_on(Device::cuda, d_y, type), gate_there, up_there);
      CHECK(worst_rounding(gate_there, gate) < 1);
      CHECK(worst_rounding(up_there, up) < 1);
    }
  }
}

TEST_CASE("products of activations in bf16", "[ops]") {
  if (test::without_gpu()) return;
  const ops::Context gpu(Device::cuda, 0, DType::bf16);
  std::mt19937 random(4);
  struct Extent {
    std::int64_t tokens, in, out;
  };
  for (const auto& [tokens, in, out] : {Extent{3, 5, 7}, {65, 130, 257}, {128, 256, 384}, {4, 0, 6}}) {
    for (const DType stored : {DType::f32, DType::bf16, DType::f16}) {
      const OwnedTensor x = made({tokens, in}, random, DType::bf16),
                        weight = random_tensor({out, in}, random, stored),
                        bias = random_tensor({out}, random, DType::bf16);
      // What the GPU makes of a weight in another type.
      const OwnedTensor seen = rounded(weight, DType::bf16);
      const OwnedTensor x_there = stored_on(Device::cuda, x, DType::bf16), w_there = on(Device::cuda, weight),
                        bias_there = on(Device::cuda, bias);
      INFO(tokens << " x " << in << " x " << out << ", weights " << name_of(stored));
      for (const DType type : {DType::f32, DType::bf16}) {
        const double tolerance = type == DType::f32 ? 1e-5 : 3e-3;
        for (const bool with_bias : {false, true}) {
          const OwnedTensor wanted = test::poisoned({tokens, out}), found = poison({tokens, out}, type);
          ops::linear(cpu(), x, seen, with_bias ? &bias.view() : nullptr, wanted);
          ops::linear(gpu, x_there, w_there, with_bias ? &bias_there.view() : nullptr, found);
          CHECK(relative_error(read(found), read(wanted)) < tolerance);
        }
        const OwnedTensor sum = made({tokens, out}, random, type),
                          sum_there = stored_on(Device::cuda, sum, type);
        ops::linear(cpu(), x, seen, nullptr, sum, true);
        ops::linear(gpu, x_there, w_there, nullptr, sum_there, true);
        CHECK(relative_error(read(sum_there), read(sum)) < tolerance);
        // The gradients of the same product.
        for (const DType given : {DType::f32, DType::bf16}) {
          const OwnedTensor d_y = made({tokens, out}, random, DType::bf16),
                            d_y_there = stored_on(Device::cuda, d_y, given);
          const OwnedTensor d_x = test::poisoned({tokens, in}), d_x_there = poison({tokens, in}, type);
          ops::linear_input_gradient(cpu(), d_y, seen, d_x);
          ops::linear_input_gradient(gpu, d_y_there, w_there, d_x_there);
          CHECK(relative_error(read(d_x_there), read(d_x)) < tolerance);
          ops::linear_input_gradient(cpu(), d_y, seen, d_x, true);
          ops::linear_input_gradient(gpu, d_y_there, w_there, d_x_there, true);
          CHECK(relative_error(read(d_x_there), read(d_x)) < 2 * tolerance);
          const OwnedTensor d_w = random_tensor({out, in}, random), d_w_there = on(Device::cuda, d_w);
          ops::linear_weight_gradient(cpu(), d_y, x, d_w);
          ops::linear_weight_gradient(gpu, d_y_there, x_there, d_w_there);
          CHECK(relative_error(read(d_w_there), read(d_w)) < 1e-5);
          const OwnedTensor d_bias = random_tensor({out}, random), d_bias_there = on(Device::cuda, d_bias);
          ops::bias_gradient(cpu(), d_y, d_bias);
          ops::bias_gradient(gpu, d_y_there, d_bias_there);
          CHECK(relative_error(read(d_bias_there), read(d_bias)) < 1e-5);
          const OwnedTensor squares = random_tensor({out}, random), squares_there = on(Device::cuda, squares);
          ops::add_column_squares(cpu(), d_y, squares);
          ops::add_column_squares(gpu, d_y_there, squares_there);
          CHECK(relative_error(read(squares_there), read(squares)) < 1e-5);
        }
      }
    }
  }
}

TEST_CASE("the Gram matrix of activations in bf16, whatever products are", "[ops]") {
  if (test::without_gpu()) return;
  std::mt19937 random(5);
  for (const std::int64_t n : {17, 64, 1100}) {
    const OwnedTensor x = made({33, n}, random, DType::bf16), wanted = test::zeros_on(Device::cpu, {n, n});
    ops::accumulate_gram(cpu(), x, 0.5f, wanted);
    for (const DType products : {DType::f32, DType::bf16}) {
      const OwnedTensor found = test::zeros_on(Device::cuda, {n, n});
      ops::accumulate_gram(ops::Context(Device::cuda, 0, products), stored_on(Device::cuda, x, DType::bf16),
                           0.5f, found);
      const OwnedTensor there = on(Device::cpu, found);
      double worst = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j <= i; ++j)
          worst = std::max(
              worst, std::abs(static_cast<double>(there->floats()[i * n + j]) - wanted->floats()[i * n + j]));
      }
      CHECK(worst < 1e-4);
    }
  }
}

TEST_CASE("conversion of any number of values, wherever they begin", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(6);
  const OwnedTensor values = random_tensor({1003}, random);
  for (const DType from : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
      for (const std::int64_t first : {0, 1, 8}) {
        const OwnedTensor in = stored_on(device, values, from);
        const OwnedTensor out = stored_on(device, test::poisoned({1003}), to);
        const std::int64_t count = 1003 - first;
        ops::convert(context, in->slice(first, count), out->slice(first, count));
        const std::vector<float> found = read(out), wanted = read(rounded(in, to));
        for (std::int64_t i = 0; i < 1003; ++i) {
          const auto at = static_cast<std::size_t>(i);
          if (i < first ? !std::isnan(found[at]) : found[at] != wanted[at]) {
            FAIL_CHECK("value " << i << " of a conversion from " << name_of(from) << " to " << name_of(to)
                                << " is " << found[at]);
          }
        }
      }
    }
  }
}
