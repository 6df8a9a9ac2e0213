#include "devices.hpp"

#include <random>

#include <galapagos/ops/adamw.hpp>

using namespace galapagos;

namespace {

using Values = std::vector<float>;

/// The state of `count` parameters that begins `shift` values behind the beginning of its memory.
struct State {
  OwnedTensor memory[5];
  ops::AdamWState part;

  State(Device device, std::int64_t count, std::int64_t shift, DType type) {
    std::mt19937 random(static_cast<unsigned>(count + 7 * shift));
    Tensor* const tensors[] = {&part.gradients, &part.master, &part.first, &part.second, &part.weights};
    for (std::size_t i = 0; i < 5; ++i) {
      const OwnedTensor host = test::random_tensor({count + shift}, random, i == 4 ? type : DType::f32);
      if (i == 3) {
        for (float& value : host->float_span()) value = value * value;
      }
      memory[i] = test::on(device, host);
      *tensors[i] = memory[i]->slice(shift, count);
    }
  }
};

/// |found - wanted| at most, beside values of about 1.
double worst(const Values& found, const std::vector<double>& wanted) {
  double most = 0;
  for (std::size_t i = 0; i < found.size(); ++i)
    most = std::max(most, std::isnan(found[i]) ? INFINITY : std::abs(found[i] - wanted[i]));
  return most;
}

}  // namespace

TEST_CASE("a step of AdamW updates all that it should in one pass, wherever it lies", "[adamw]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  ops::AdamWStep step;
  step.learning_rate = 0.01;
  step.weight_decay = 0.1;
  step.gradient_factor = 0.5;
  step.step = 3;
  for (const std::int64_t count : {1, 7, 8, 9, 4100, 100'003}) {
    for (const std::int64_t shift : {0, 1, 2, 8}) {
      for (const auto& [type, precision] : {std::pair{DType::bf16, DType::bf16},
                                            {DType::f16, DType::f16},
                                            {DType::f32, DType::f32},
                                            {DType::f32, DType::bf16},
                                            {DType::f32, DType::f16}}) {
        INFO(count << " behind " << shift << ", " << name_of(type) << " as " << name_of(precision));
        const State state(device, count, shift, type);
        const Values g = test::read(state.part.gradients), w = test::read(state.part.master),
                     m = test::read(state.part.first), v = test::read(state.part.second);
        const Values before = shift > 0 ? test::read(state.memory[4]->slice(0, shift)) : Values();
        std::vector<double> w64, m64, v64;
        for (std::size_t i = 0; i < g.size(); ++i) {
          const double gradient = 0.5 * g[i];
          m64.push_back(0.9 * m[i] + 0.1 * gradient);
          v64.push_back(0.999 * v[i] + 0.001 * gradient * gradient);
          const double m_hat = m64[i] / (1 - std::pow(0.9, 3)), v_hat = v64[i] / (1 - std::pow(0.999, 3));
          w64.push_back(w[i] * (1 - 0.01 * 0.1) - 0.01 * m_hat / (std::sqrt(v_hat) + 1e-8));
        }
        const OwnedTensor bad = test::zeros_on(device, {1});
        ops::adamw(context, step, state.part, precision, bad);
        CHECK(test::read(bad)[0] == 0);
        CHECK(test::read(state.part.gradients) == Values(g.size(), 0.0f));
        CHECK(worst(test::read(state.part.first), m64) < 2e-6);
        CHECK(worst(test::read(state.part.second), v64) < 4e-6);
        // Where the second moment is nearly 0 the step is long.
        const Values master = test::read(state.part.master);
        double relative = 0;
        for (std::size_t i = 0; i < g.size(); ++i)
          relative =
              std::max(relative, std::abs(master[i] - w64[i]) / (std::abs(w64[i]) + std::abs(w[i]) + 1e-2));
        CHECK(relative < 1e-5);
        CHECK(test::read(state.part.weights) == test::values_of(test::rounded(state.part.master, precision)));
        if (shift > 0) CHECK(test::read(state.memory[4]->slice(0, shift)) == before);
      }
    }
  }
}

TEST_CASE("a step of AdamW notes a gradient that is not finite", "[adamw]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  for (const float wrong : {INFINITY, -INFINITY, NAN}) {
    for (const std::int64_t at : {0, 17, 20'002}) {
      const State state(device, 20'003, 0, DType::bf16);
      copy_bytes(reinterpret_cast<std::byte*>(state.part.gradients.floats() + at), device,
                 reinterpret_cast<const std::byte*>(&wrong), Device::cpu, sizeof wrong);
      const OwnedTensor bad = test::zeros_on(device, {1});
      ops::adamw(context, {}, state.part, DType::bf16, bad);
      CHECK(!std::isfinite(test::read(bad)[0]));
      CHECK(test::read(state.part.gradients) == Values(20'003, 0.0f));
    }
  }
}

TEST_CASE("sums of squares of several tensors, wherever they lie", "[adamw]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(3);
  const OwnedTensor all = test::on(device, test::random_tensor({5'000'000}, random));
  const Values values = test::read(all);
  std::vector<Tensor> tensors;
  std::vector<double> wanted;
  std::int64_t first = 0;
  for (const std::int64_t count : {0, 1, 2, 3, 4, 5, 255, 70'001, 3, 4'500'007}) {
    tensors.push_back(all->slice(first, count));
    double sum = 0;
    for (std::int64_t i = first; i < first + count; ++i) {
      const double value = values[static_cast<std::size_t>(i)];
      sum += value * value;
    }
    wanted.push_back(sum);
    first += count;
  }
  std::vector<double> found(tensors.size());
  ops::sums_of_squares(context, tensors, found);
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == Approx(wanted[i]).epsilon(1e-12));
  CHECK(ops::sum_of_squares(context, tensors.back()) == found.back());
}
