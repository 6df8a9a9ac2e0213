// Gradients against central differences of naive forms of the same operations in fp64.
#include "ops/devices.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <omp.h>
#include <random>
#include <vector>

#include <galapagos/ops/adamw.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/divergence.hpp>
#include <galapagos/ops/head_norm.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/soft_cap.hpp>
#include <galapagos/ops/transformer.hpp>

using namespace galapagos;

namespace {

using Values = std::vector<double>;

class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}
  Values values(std::int64_t count) {
    Values made(static_cast<std::size_t>(count));
    // Exactly representable in fp32, so that both sides see the same numbers.
    for (double& value : made) value = static_cast<float>(normal_(random_));
    return made;
  }

 private:
  std::mt19937 random_;
  std::normal_distribution<double> normal_;
};

OwnedTensor tensor_of(const Values& values, Shape shape, Device device) {
  const OwnedTensor tensor(shape, DType::f32, Device::cpu, "test");
  std::transform(values.begin(), values.end(), tensor->floats(),
                 [](double x) { return static_cast<float>(x); });
  return test::on(device, tensor);
}

/// d loss / d x by central differences.
Values differences(const Values& x, const std::function<double(const Values&)>& loss) {
  constexpr double h = 1e-5;
  Values result, at = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    at[i] = x[i] + h;
    const double above = loss(at);
    at[i] = x[i] - h;
    result.push_back((above - loss(at)) / (2 * h));
    at[i] = x[i];
  }
  return result;
}

double product(const Values& a, const Values& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

void check_gradient(const Tensor& found, const Values& wanted, double tolerance = 2e-5) {
  REQUIRE(found.elements() == static_cast<std::int64_t>(wanted.size()));
  double largest = 0, worst = 0;
  const std::vector<float> values = test::read(found);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::abs(wanted[i]));
    const double error = std::abs(wanted[i] - static_cast<double>(values[i]));
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  CHECK(worst <= tolerance * std::max(largest, 1.0));
}

// The same operations, naively.

Values linear64(const Values& x, const Values& w, std::int64_t t, std::int64_t in, std::int64_t out) {
  Values y(static_cast<std::size_t>(t * out));
  for (std::int64_t i = 0; i < t; ++i)
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t j = 0; j < in; ++j)
        y[static_cast<std::size_t>(i * out + o)] +=
            x[static_cast<std::size_t>(i * in + j)] * w[static_cast<std::size_t>(o * in + j)];
  return y;
}

Values rms_norm64(const Values& x, const Values& w, double epsilon, double shift) {
  Values y(x.size());
  const std::size_t n = w.size();
  for (std::size_t row = 0; row < x.size(); row += n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += x[row + i] * x[row + i];
    const double f = 1 / std::sqrt(sum / static_cast<double>(n) + epsilon);
    for (std::size_t i = 0; i < n; ++i) y[row + i] = x[row + i] * f * (w[i] + shift);
  }
  return y;
}

Values gated64(const Values& gate, const Values& up, ops::GateKind kind) {
  Values y;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i], u = std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g);
    y.push_back(up[i] * (kind == ops::GateKind::silu ? g / (1 + std::exp(-g)) : g * (1 + std::tanh(u)) / 2));
  }
  return y;
}

struct Heads {
  std::int64_t head_dim;
  std::vector<std::int32_t> kv_of_head;
  std::int64_t kv_heads;
  std::vector<std::int64_t> offsets;
};

Values attention64(const Values& q, const Values& k, const Values& v, const Heads& heads,
                   const ops::AttentionRule& rule = {}) {
  const auto cap = static_cast<double>(rule.cap), scale = static_cast<double>(rule.scale_of(heads.head_dim));
  const auto count = static_cast<std::int64_t>(heads.kv_of_head.size()), d = heads.head_dim;
  Values out(q.size());
  const auto at = [&](std::int64_t row, std::int64_t width, std::int64_t head, std::int64_t i) {
    return static_cast<std::size_t>((row * width + head) * d + i);
  };
  for (std::size_t s = 0; s + 1 < heads.offsets.size(); ++s) {
    for (std::int64_t row = heads.offsets[s]; row < heads.offsets[s + 1]; ++row) {
      for (std::int64_t h = 0; h < count; ++h) {
        const std::int64_t g = heads.kv_of_head[static_cast<std::size_t>(h)];
        Values scores;
        const std::int64_t seen =
            rule.window == 0 ? heads.offsets[s] : std::max(heads.offsets[s], row + 1 - rule.window);
        for (std::int64_t j = seen; j <= row; ++j) {
          double dot = 0;
          for (std::int64_t i = 0; i < d; ++i)
            dot += q[at(row, count, h, i)] * k[at(j, heads.kv_heads, g, i)];
          dot *= scale;
          scores.push_back(std::exp(cap == 0 ? dot : cap * std::tanh(dot / cap)));
        }
        const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
        for (std::int64_t j = seen; j <= row; ++j)
          for (std::int64_t i = 0; i < d; ++i)
            out[at(row, count, h, i)] +=
                scores[static_cast<std::size_t>(j - seen)] / sum * v[at(j, heads.kv_heads, g, i)];
      }
    }
  }
  return out;
}

Values log_softmax64(const Values& row) {
  double sum = 0;
  for (const double x : row) sum += std::exp(x);
  Values result;
  for (const double x : row) result.push_back(x - std::log(sum));
  return result;
}

}  // namespace

TEST_CASE("gradients of a linear product", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(1);
  const std::int64_t t = 5, in = 7, out = 6;
  const Values x = make.values(t * in), w = make.values(out * in), g = make.values(t * out);
  const OwnedTensor d_y = tensor_of(g, {t, out}, device), x32 = tensor_of(x, {t, in}, device),
                    w32 = tensor_of(w, {out, in}, device);

  const OwnedTensor d_x = test::zeros_on(device, {t, in});
  ops::linear_input_gradient(context, d_y, w32, d_x);
  const Values wanted =
      differences(x, [&](const Values& at) { return product(g, linear64(at, w, t, in, out)); });
  check_gradient(d_x, wanted);
  ops::linear_input_gradient(context, d_y, w32, d_x, true);
  Values twice = wanted;
  for (double& value : twice) value *= 2;
  check_gradient(d_x, twice);

  const OwnedTensor d_w = test::zeros_on(device, {out, in});
  ops::linear_weight_gradient(context, d_y, x32, d_w);
  check_gradient(d_w,
                 differences(w, [&](const Values& at) { return product(g, linear64(x, at, t, in, out)); }));

  const OwnedTensor d_bias = test::zeros_on(device, {out});
  ops::bias_gradient(context, d_y, d_bias);
  check_gradient(d_bias, differences(Values(static_cast<std::size_t>(out), 0.0), [&](const Values& bias) {
                   Values y = linear64(x, w, t, in, out);
                   for (std::size_t i = 0; i < y.size(); ++i) y[i] += bias[i % static_cast<std::size_t>(out)];
                   return product(g, y);
                 }));
}

TEST_CASE("squares are added up by column", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(3);
  const std::int64_t t = 37, n = 300;
  const Values x = make.values(t * n), before = make.values(n);
  const OwnedTensor sums = tensor_of(before, {n}, device);
  ops::add_column_squares(context, tensor_of(x, {t, n}, device), sums);
  Values wanted = before;
  for (std::size_t i = 0; i < x.size(); ++i) wanted[i % static_cast<std::size_t>(n)] += x[i] * x[i];
  const std::vector<float> found = test::read(sums);
  for (std::size_t i = 0; i < wanted.size(); ++i)
    CHECK(static_cast<double>(found[i]) == Approx(wanted[i]).epsilon(1e-5));
}

TEST_CASE("the input gradient of a bf16 weight is that of its values", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(2);
  const std::int64_t t = 3, in = 700, out = 9;  // more than one tile of columns
  const OwnedTensor made = tensor_of(make.values(out * in), {out, in}, Device::cpu);
  const OwnedTensor w16({out, in}, DType::bf16, Device::cpu, "test");
  convert_from_float(made->float_span(), DType::bf16, w16->data);
  // A GPU rounds the other operand, too.
  const OwnedTensor d_y = tensor_of(make.values(t * out), {t, out}, Device::cpu);
  const OwnedTensor rounded = test::rounded(d_y, device == Device::cpu ? DType::f32 : DType::bf16);
  const OwnedTensor a = test::poisoned_on(device, {t, in}), b = test::poisoned_on(device, {t, in});
  ops::linear_input_gradient(context, test::on(device, rounded),
                             test::on(device, test::rounded(w16, DType::bf16)), a);
  ops::linear_input_gradient(context, test::on(device, d_y), test::on(device, w16), b);
  CHECK(test::relative_error(test::read(b), test::read(a)) < 1e-5);
}

TEST_CASE("a product of no columns leaves no gradient", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const OwnedTensor d_y = test::zeros_on(device, {4, 0}), w = test::zeros_on(device, {0, 3});
  const OwnedTensor d_x = tensor_of(Values(12, 1.0), {4, 3}, device);
  ops::linear_input_gradient(context, d_y, w, d_x, true);
  CHECK(test::read(d_x)[11] == 1);
  ops::linear_input_gradient(context, d_y, w, d_x);
  CHECK(test::read(d_x)[11] == 0);
}

TEST_CASE("gradients of the root-mean-square norm", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(3);
  const std::int64_t t = 4, n = 300;
  const double epsilon = 1e-3, shift = GENERATE(0.0, 1.0);
  const ops::NormRule rule(static_cast<float>(epsilon), static_cast<float>(shift));
  const Values x = make.values(t * n), w = make.values(n), g = make.values(t * n);
  const OwnedTensor d_x = test::zeros_on(device, {t, n}), d_w = test::zeros_on(device, {n});
  ops::rms_norm_backward(context, tensor_of(x, {t, n}, device), tensor_of(w, {n}, device), rule,
                         tensor_of(g, {t, n}, device), d_x, d_w);
  check_gradient(
      d_x, differences(x, [&](const Values& at) { return product(g, rms_norm64(at, w, epsilon, shift)); }));
  check_gradient(
      d_w, differences(w, [&](const Values& at) { return product(g, rms_norm64(x, at, epsilon, shift)); }));
}

TEST_CASE("the norm of each head, and its gradient", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(4);
  const double epsilon = 1e-3, shift = GENERATE(0.0, 1.0);
  const ops::NormRule rule(static_cast<float>(epsilon), static_cast<float>(shift));
  // More heads than a piece of the sum over them has, and a width that is no multiple of a warp.
  for (const auto& [t, heads, n] : {std::array<std::int64_t, 3>{3, 2, 48}, {310, 3, 6}}) {
    const Shape shape{t, heads * n};
    const Values x = make.values(t * heads * n), w = make.values(n), g = make.values(t * heads * n);
    const OwnedTensor in = tensor_of(x, shape, device), weight = tensor_of(w, {n}, device);
    const OwnedTensor out = tensor_of(x, shape, device), d = tensor_of(g, shape, device),
                      d_w = test::zeros_on(device, {n});
    ops::head_norm(context, out, weight, rule, out);
    const Values expected = rms_norm64(x, w, epsilon, shift);
    const std::vector<float> found = test::read(out);
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::abs(found[i] - expected[i]));
    CHECK(worst < 1e-5);
    ops::head_norm_backward(context, in, weight, rule, d, d_w);
    if (t < 10)
      check_gradient(
          d, differences(x, [&](const Values& at) { return product(g, rms_norm64(at, w, epsilon, shift)); }));
    check_gradient(
        d_w, differences(w, [&](const Values& at) { return product(g, rms_norm64(x, at, epsilon, shift)); }));
    ops::head_norm_backward(context, in, weight, rule, tensor_of(g, shape, device), d_w);
    check_gradient(d_w, differences(w, [&](const Values& at) {
                     return 2 * product(g, rms_norm64(x, at, epsilon, shift));
                   }));
  }
}

TEST_CASE("the rotation's gradient turns back", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const auto [head_dim, scale] = GENERATE(table<std::int64_t, float>({{6, 1.0f}, {8, 1.25f}}));
  Maker make(4);
  const std::int64_t t = 7;
  const std::vector<std::int64_t> offsets = {0, 4, 7};
  const OwnedTensor frequencies = tensor_of({1.0, 0.3, 0.01}, {3}, device);
  const OwnedTensor x = tensor_of(make.values(t * 2 * head_dim), {t, 2 * head_dim}, device);
  const OwnedTensor g = tensor_of(make.values(t * 2 * head_dim), {t, 2 * head_dim}, device);
  // <g, R x> = <R^T g, x> for a linear map.
  const auto values_of = [](const Tensor& tensor) {
    const std::vector<float> values = test::read(tensor);
    return Values(values.begin(), values.end());
  };
  const Values before = values_of(x), gradient = values_of(g);
  ops::rope(context, x, {}, head_dim, frequencies, offsets, scale);
  ops::rope_backward(context, g, {}, head_dim, frequencies, offsets, scale);
  const Values rotated = values_of(x), back = values_of(g);
  CHECK(std::abs(product(gradient, rotated) - product(back, before)) < 1e-4);
  ops::rope(context, g, {}, head_dim, frequencies, offsets, 1 / scale);
  const Values again = values_of(g);
  for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(std::abs(gradient[i] - again[i]) < 1e-5);
}

TEST_CASE("gradients of the gated activation", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(5);
  const auto kind = GENERATE(ops::GateKind::silu, ops::GateKind::gelu_tanh);
  const std::int64_t t = 3, n = 40;
  const Values gate = make.values(t * n), up = make.values(t * n), g = make.values(t * n);
  const OwnedTensor d_gate = tensor_of(gate, {t, n}, device), d_up = tensor_of(up, {t, n}, device);
  ops::swiglu_backward(context, tensor_of(g, {t, n}, device), d_gate, d_up, kind);
  check_gradient(d_gate,
                 differences(gate, [&](const Values& at) { return product(g, gated64(at, up, kind)); }));
  check_gradient(d_up,
                 differences(up, [&](const Values& at) { return product(g, gated64(gate, at, kind)); }));
}

TEST_CASE("the gradient of a cap", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(15);
  const Values x = make.values(300), g = make.values(300);
  const OwnedTensor capped = tensor_of(x, {3, 100}, device), d = tensor_of(g, {3, 100}, device);
  ops::soft_cap(context, capped, 1.3f);
  ops::soft_cap_backward(context, capped, 1.3f, d);
  const double cap = static_cast<double>(1.3f);
  check_gradient(d, differences(x, [&](const Values& at) {
                   Values y;
                   for (const double value : at) y.push_back(cap * std::tanh(value / cap));
                   return product(g, y);
                 }));
}

TEST_CASE("gradients of attention", "[ops]") {
  const ops::AttentionRule rule =
      GENERATE(ops::AttentionRule{}, ops::AttentionRule{7}, ops::AttentionRule{70, 0.9f},
               ops::AttentionRule{0, 0, 1.1f}, ops::AttentionRule{65, 0.6f, 0.8f});
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(6);
  // Uneven heads, a KV head without a query head, a sequence of one token, and one beyond a block of keys.
  const Heads heads{4, {0, 0, 0, 2}, 3, {0, 1, 12, 150}};
  const std::int64_t t = heads.offsets.back(), q_width = 4 * heads.head_dim, kv_width = 3 * heads.head_dim;
  const Values q = make.values(t * q_width), k = make.values(t * kv_width), v = make.values(t * kv_width),
               g = make.values(t * q_width);
  const OwnedTensor q32 = tensor_of(q, {t, q_width}, device), k32 = tensor_of(k, {t, kv_width}, device),
                    v32 = tensor_of(v, {t, kv_width}, device), g32 = tensor_of(g, {t, q_width}, device);
  const OwnedTensor out = test::poisoned_on(device, {t, q_width}),
                    log_sums = test::poisoned_on(device, {t, 4}),
                    d_q = test::poisoned_on(device, {t, q_width}),
                    d_k = test::poisoned_on(device, {t, kv_width}),
                    d_v = test::poisoned_on(device, {t, kv_width});
  ops::attention(context, q32, k32, v32, heads.head_dim, heads.kv_of_head, heads.offsets, out, log_sums,
                 rule);
  ops::attention_backward(context, q32, k32, v32, heads.head_dim, heads.kv_of_head, heads.offsets, out,
                          log_sums, g32, d_q, d_k, d_v, rule);
  // Central differences of some entries only: each needs the whole of the naive form.
  std::mt19937 random(7);
  const auto check = [&](const Values& x, const OwnedTensor& there, auto&& forward) {
    const std::vector<float> found = test::read(there);
    for (int probe = 0; probe < 40; ++probe) {
      Values at = x;
      const std::size_t i = random() % x.size();
      at[i] = x[i] + 1e-5;
      const double above = product(g, forward(at));
      at[i] = x[i] - 1e-5;
      const double wanted = (above - product(g, forward(at))) / 2e-5;
      CHECK(std::abs(wanted - static_cast<double>(found[i])) < 1e-4 * std::max(1.0, std::abs(wanted)));
    }
  };
  check(q, d_q, [&](const Values& at) { return attention64(at, k, v, heads, rule); });
  check(k, d_k, [&](const Values& at) { return attention64(q, at, v, heads, rule); });
  check(v, d_v, [&](const Values& at) { return attention64(q, k, at, heads, rule); });

  const int threads = omp_get_max_threads();
  omp_set_num_threads(threads == 1 ? 3 : 1);
  const OwnedTensor d_q2 = test::poisoned_on(device, {t, q_width}),
                    d_k2 = test::poisoned_on(device, {t, kv_width}),
                    d_v2 = test::poisoned_on(device, {t, kv_width});
  ops::attention_backward(context, q32, k32, v32, heads.head_dim, heads.kv_of_head, heads.offsets, out,
                          log_sums, g32, d_q2, d_k2, d_v2, rule);
  omp_set_num_threads(threads);
  CHECK(test::read(d_k) == test::read(d_k2));
  CHECK(test::read(d_q) == test::read(d_q2));
}

TEST_CASE("the embedding's gradient adds up repeated tokens", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const std::vector<std::int32_t> tokens = {2, 0, 2};
  const OwnedTensor table = tensor_of(Values(12, 1.0), {4, 3}, device),
                    d_out = tensor_of({1, 2, 3, 4, 5, 6, 7, 8, 9}, {3, 3}, device);
  ops::embed_backward(context, tokens, d_out, table);
  check_gradient(table, {5, 6, 7, 1, 1, 1, 9, 11, 13, 1, 1, 1}, 0);
}

TEST_CASE("gradients of the losses", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(8);
  const std::int64_t t = 3, n = 50;
  const Values logits = make.values(t * n), dense = make.values(t * n);
  const std::vector<std::int32_t> targets = {4, 49, 0};
  const std::vector<float> weights = {0.5f, 0.0f, 2.0f};
  const auto row = [&](const Values& all, std::int64_t i) {
    return Values(all.begin() + i * n, all.begin() + (i + 1) * n);
  };
  const OwnedTensor cross = tensor_of(logits, {t, n}, device);
  ops::cross_entropy_backward(context, targets, weights, cross);
  check_gradient(cross, differences(logits, [&](const Values& at) {
                   double sum = 0;
                   for (std::int64_t i = 0; i < t; ++i) {
                     const auto s = static_cast<std::size_t>(i);
                     sum -= static_cast<double>(weights[s]) *
                            log_softmax64(row(at, i))[static_cast<std::size_t>(targets[s])];
                   }
                   return sum;
                 }));
  const OwnedTensor kl = tensor_of(logits, {t, n}, device), dense32 = tensor_of(dense, {t, n}, device),
                    scale = test::zeros_on(device, {t, 2});
  ops::softmax_scale(context, dense32, scale);
  ops::kl_backward(context, dense32, scale, weights, kl);
  check_gradient(kl, differences(logits, [&](const Values& at) {
                   double sum = 0;
                   for (std::int64_t i = 0; i < t; ++i) {
                     const Values p = log_softmax64(row(dense, i)), q = log_softmax64(row(at, i));
                     for (std::size_t j = 0; j < p.size(); ++j)
                       sum += static_cast<double>(weights[static_cast<std::size_t>(i)]) * std::exp(p[j]) *
                              (p[j] - q[j]);
                   }
                   return sum;
                 }));
}

TEST_CASE("AdamW does what its definition says", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  Maker make(9);
  const std::int64_t n = 100;
  Values w = make.values(n), m(static_cast<std::size_t>(n)), v(m.size());
  const OwnedTensor w32 = tensor_of(w, {n}, device), m32 = test::zeros_on(device, {n}),
                    v32 = test::zeros_on(device, {n}), working = test::poisoned_on(device, {n});
  ops::AdamWStep step;
  step.learning_rate = 0.01;
  step.weight_decay = 0.1;
  step.gradient_factor = 0.5;
  for (step.step = 1; step.step <= 50; ++step.step) {
    const Values g = make.values(n);
    const OwnedTensor gradients = tensor_of(g, {n}, device);
    ops::adamw(context, step, {gradients, w32, m32, v32, working}, DType::f32);
    for (std::size_t i = 0; i < g.size(); ++i) {
      const double gradient = 0.5 * g[i], t = static_cast<double>(step.step);
      w[i] -= 0.01 * 0.1 * w[i];
      m[i] = 0.9 * m[i] + 0.1 * gradient;
      v[i] = 0.999 * v[i] + 0.001 * gradient * gradient;
      const double m_hat = m[i] / (1 - std::pow(0.9, t)), v_hat = v[i] / (1 - std::pow(0.999, t));
      w[i] -= 0.01 * m_hat / (std::sqrt(v_hat) + 1e-8);
    }
  }
  check_gradient(w32, w, 1e-6);
  CHECK(std::abs(ops::sum_of_squares(context, w32) / product(w, w) - 1) < 1e-5);
}
