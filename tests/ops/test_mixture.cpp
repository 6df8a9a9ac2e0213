// What a mixture of experts does between its products, against the formulas in fp64, and its gradients
// against central differences of those.
#include "ops/devices.hpp"

#include <cmath>
#include <numbers>
#include <numeric>

#include <galapagos/ops/mixture.hpp>

using namespace galapagos;
using test::on;
using test::poisoned_on;
using test::random_tensor;
using test::read;

namespace {

// Experts with many rows, none, one, and of a width of one.
const ops::ExpertRows layout{{0, 7, 7, 8, 13}, {37, 5, 64, 1}};

double gated(double g, ops::GateKind kind) {
  if (kind == ops::GateKind::silu) return g / (1 + std::exp(-g));
  return g * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g))) / 2;
}

/// Calls work(row, element) for every element, as the layout places them.
template <typename Work>
void for_elements(const Work& work) {
  std::size_t at = 0;
  for (std::size_t expert = 0; expert < layout.columns.size(); ++expert) {
    for (std::int64_t row = layout.rows[expert]; row < layout.rows[expert + 1]; ++row) {
      for (std::int64_t c = 0; c < layout.columns[expert]; ++c) work(static_cast<std::size_t>(row), at++);
    }
  }
}

template <typename T>
DeviceArray<T> array_on(Device device, const std::vector<T>& values) {
  DeviceArray<T> array(std::ssize(values), device, "test");
  copy_bytes(reinterpret_cast<std::byte*>(array.data()), device,
             reinterpret_cast<const std::byte*>(values.data()), Device::cpu, values.size() * sizeof(T));
  return array;
}

/// Rows of such weights, laid out as above.
ops::Routing routing_of(Device device, const std::vector<float>& weights) {
  ops::Routing routing;
  routing.layout = layout;
  routing.weights = array_on(device, weights);
  return routing;
}

struct Example {
  explicit Example(ops::GateKind gate_kind) : kind(gate_kind) {
    std::mt19937 random(31);
    const std::int64_t count = layout.first_elements().back();
    gate = random_tensor({count}, random, DType::f32, 2);
    up = random_tensor({count}, random);
    d = random_tensor({count}, random);
    std::uniform_real_distribution<float> uniform(0.01f, 1);
    for (std::int64_t row = 0; row < layout.count(); ++row) weights.push_back(uniform(random));
  }

  /// Sum of d times the output, the gate of `element` and the weight of `row` being changed.
  double loss(std::size_t element, double by_gate, double by_up, std::size_t row, double by_weight) const {
    double sum = 0;
    for_elements([&](std::size_t r, std::size_t i) {
      const double g = static_cast<double>(gate->floats()[i]) + (i == element ? by_gate : 0),
                   u = static_cast<double>(up->floats()[i]) + (i == element ? by_up : 0),
                   w = static_cast<double>(weights[r]) + (r == row ? by_weight : 0);
      sum += static_cast<double>(d->floats()[i]) * w * gated(g, kind) * u;
    });
    return sum;
  }

  ops::GateKind kind;
  OwnedTensor gate, up, d;
  std::vector<float> weights;
};

}  // namespace

TEST_CASE("gates of experts are those of a feed-forward part times the weights of their rows",
          "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const Example example(GENERATE(ops::GateKind::silu, ops::GateKind::gelu_tanh));
  const OwnedTensor out = poisoned_on(device, example.gate->shape);
  const ops::Routing routing = routing_of(device, example.weights);
  ops::routed_swiglu(context, on(device, example.gate), on(device, example.up), routing, out, example.kind);
  const std::vector<float> found = read(out);
  for_elements([&](std::size_t row, std::size_t i) {
    const double wanted = static_cast<double>(example.weights[row]) *
                          gated(static_cast<double>(example.gate->floats()[i]), example.kind) *
                          static_cast<double>(example.up->floats()[i]);
    CHECK(static_cast<double>(found[i]) == Approx(wanted).epsilon(1e-4).margin(1e-6));
  });
  const OwnedTensor in_place = on(device, example.gate);
  ops::routed_swiglu(context, in_place, on(device, example.up), routing, in_place, example.kind);
  CHECK(read(in_place) == found);
}

TEST_CASE("gradients of experts' gates equal central differences", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const Example example(GENERATE(ops::GateKind::silu, ops::GateKind::gelu_tanh));
  const OwnedTensor gate = on(device, example.gate), up = on(device, example.up);
  const OwnedTensor by_weight = poisoned_on(device, {layout.count()});
  ops::routed_swiglu_backward(ops::Context(device), on(device, example.d), gate, up,
                              routing_of(device, example.weights), by_weight, example.kind);
  const std::vector<float> d_weights = read(by_weight);
  const std::vector<float> d_gate = read(gate), d_up = read(up);
  constexpr double step = 1e-5;
  constexpr std::size_t none = 1 << 20;
  const auto slope = [&](double above, double below) { return (above - below) / (2 * step); };
  for (const std::size_t i : {0UL, 36UL, 258UL, 259UL, 322UL, 323UL, 327UL}) {
    CHECK(static_cast<double>(d_gate[i]) ==
          Approx(slope(example.loss(i, step, 0, none, 0), example.loss(i, -step, 0, none, 0)))
              .epsilon(1e-3)
              .margin(1e-5));
    CHECK(static_cast<double>(d_up[i]) ==
          Approx(slope(example.loss(i, 0, step, none, 0), example.loss(i, 0, -step, none, 0)))
              .epsilon(1e-3)
              .margin(1e-5));
  }
  for (std::size_t row = 0; row < d_weights.size(); ++row)
    CHECK(static_cast<double>(d_weights[row]) ==
          Approx(slope(example.loss(none, 0, 0, row, step), example.loss(none, 0, 0, row, -step)))
              .epsilon(1e-3)
              .margin(1e-5));
}

TEST_CASE("rows are summed where they belong to a token, but for those that are elsewhere",
          "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(7);
  const std::int64_t columns = GENERATE(1, 33);
  const OwnedTensor rows = random_tensor({5, columns}, random), before = random_tensor({3, columns}, random);
  const std::vector<std::int64_t> places = {4, 0, -1, -1, 2, 4};
  ops::Routing routing;
  routing.experts_per_token = 2;
  routing.places = array_on(device, places);
  const bool accumulate = GENERATE(false, true);
  const OwnedTensor out = accumulate ? on(device, before) : poisoned_on(device, before->shape);
  ops::sum_rows(context, on(device, rows), routing, out, accumulate);
  const std::vector<float> found = read(out), values = read(rows), was = read(before);
  for (std::int64_t token = 0; token < 3; ++token) {
    for (std::int64_t c = 0; c < columns; ++c) {
      float wanted = accumulate ? was[static_cast<std::size_t>(token * columns + c)] : 0.0f;
      for (std::int64_t i = 2 * token; i < 2 * token + 2; ++i) {
        const std::int64_t place = places[static_cast<std::size_t>(i)];
        if (place >= 0) wanted += values[static_cast<std::size_t>(place * columns + c)];
      }
      CHECK(found[static_cast<std::size_t>(token * columns + c)] == wanted);
    }
  }
}

TEST_CASE("every row of a routing is that of its token", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(11);
  const std::int64_t columns = GENERATE(1, 8, 33);
  const OwnedTensor table = random_tensor({4, columns}, random);
  const std::vector<std::int64_t> tokens = {0, 3, 3, 1, 0, 0, 2, 1, 1, 1, 2, 3, 0};
  ops::Routing routing;
  routing.layout = layout;
  routing.tokens = array_on(device, tokens);
  const OwnedTensor out = poisoned_on(device, {layout.count(), columns});
  ops::gather_routed(ops::Context(device), on(device, table), routing, out);
  const std::vector<float> found = read(out), values = read(table);
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    for (std::int64_t c = 0; c < columns; ++c)
      CHECK(found[row * static_cast<std::size_t>(columns) + static_cast<std::size_t>(c)] ==
            values[static_cast<std::size_t>(tokens[row] * columns + c)]);
  }
}
