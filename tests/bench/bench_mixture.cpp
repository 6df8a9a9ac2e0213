// The way through a mixture of experts, with the products of all experts in one operation, beside one
// operation for each expert; random weights, on the GPU where one is visible, in bf16 there.
//   bench_mixture [repeats = 9]
#include "measuring.hpp"

#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/model/layer_steps.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/mixture.hpp>
#include <galapagos/tensor/gpu.hpp>

using namespace galapagos;

namespace {

struct Sizes {
  const char* name;
  std::int64_t experts, columns, hidden, tokens, each;
};

OwnedTensor random_on(const ops::Context& context, Shape shape, float scale, std::uint64_t seed) {
  const OwnedTensor made(shape, context.activations(), Device::cpu, "benchmark");
  const std::vector<float> values =
      bench::random_values(static_cast<std::size_t>(shape.elements()), scale, seed);
  convert_from_float(values, made->dtype, made->data);
  return copy_of(made, context.device(), "benchmark");
}

FfnWeights mixture_of(const ops::Context& context, const Sizes& sizes) {
  const Shape wide{sizes.columns, sizes.hidden};
  FfnWeights weights;
  weights.columns = sizes.experts * sizes.columns;
  weights.router = random_on(context, {sizes.experts, sizes.hidden}, 0.05f, 1);
  for (std::int64_t e = 0; e < sizes.experts; ++e) {
    const auto seed = static_cast<std::uint64_t>(3 * e + 2);
    const auto expert = std::make_shared<ExpertWeights>();
    expert->columns = sizes.columns;
    expert->gate = random_on(context, wide, 0.02f, seed);
    expert->up = random_on(context, wide, 0.02f, seed + 1);
    expert->down = random_on(context, {sizes.hidden, sizes.columns}, 0.02f, seed + 2);
    weights.experts.push_back(expert);
  }
  return weights;
}

/// A layer's feed-forward part, and rooms for its two ways.
class Mixture {
 public:
  Mixture(const ops::Context& context, const Sizes& sizes, const HfConfig& config)
      : context_(context),
        sizes_(sizes),
        steps_(context, config, sizes.tokens, alone()),
        buffers_(context, config, {0, 0, sizes.each * sizes.columns, sizes.experts}, sizes.tokens),
        weights_(mixture_of(context, sizes)),
        normed_(random_on(context, {sizes.tokens, sizes.hidden}, 1, 0)),
        logits_({sizes.tokens, sizes.experts}, DType::f32, context.device(), "benchmark"),
        rows_({sizes.tokens * sizes.each, sizes.hidden}, context.activations(), context.device(),
              "benchmark") {}

  void together(const Tensor& hidden) {
    Routing& routing = *buffers_.routing;
    steps_.gate_and_up(weights_, normed_, routing, buffers_.gate, buffers_.up);
    steps_.activate(routing, buffers_.gate, buffers_.up, buffers_.gate);
    steps_.add_output(weights_, routing, buffers_.gate, hidden, {});
  }

  void one_by_one(const Tensor& hidden) const {
    Routing& routing = *buffers_.routing;
    ops::linear(context_, normed_, weights_.router, nullptr, logits_);
    const std::vector<std::int64_t> columns(static_cast<std::size_t>(sizes_.experts), sizes_.columns);
    ops::route(context_, logits_, {sizes_.each, true}, columns, routing);
    ops::gather_routed(context_, normed_, routing, rows_);
    const auto part = [&](const OwnedTensor& all, std::size_t expert, std::int64_t width) {
      const std::int64_t first = routing.layout.rows[expert], count = routing.layout.rows[expert + 1] - first;
      return all->view({routing.layout.count(), width}).slice(first, count);
    };
    for (std::size_t e = 0; e < weights_.experts.size(); ++e) {
      const ops::Factor x(part(rows_, e, sizes_.hidden));
      ops::linear(context_, x, weights_.experts[e]->gate, nullptr, part(buffers_.gate, e, sizes_.columns));
      ops::linear(context_, x, weights_.experts[e]->up, nullptr, part(buffers_.up, e, sizes_.columns));
    }
    ops::routed_swiglu(context_, buffers_.gate, buffers_.up, routing, buffers_.gate);
    for (std::size_t e = 0; e < weights_.experts.size(); ++e)
      ops::linear(context_, part(buffers_.gate, e, sizes_.columns), weights_.experts[e]->down, nullptr,
                  part(rows_, e, sizes_.hidden));
    ops::sum_rows(context_, rows_, routing, hidden, true);
  }

 private:
  const ops::Context& context_;
  Sizes sizes_;
  MixtureSteps steps_;
  LayerBuffers buffers_;
  FfnWeights weights_;
  OwnedTensor normed_, logits_, rows_;
};

void measure(const ops::Context& context, const Sizes& sizes, int runs) {
  HfConfig config;
  config.model_type = "qwen3_moe";
  config.hidden_size = sizes.hidden;
  config.head_dim = 1;
  config.mixture = {sizes.experts, sizes.columns, sizes.each, true};
  Mixture mixture(context, sizes, config);
  OwnedTensor hidden({sizes.tokens, sizes.hidden}, DType::f32, context.device(), "benchmark");
  fill_zero(hidden);
  // In turns, as neighbours come and go.
  std::vector<double> ratios, seconds, seconds_before;
  for (int turn = 0; turn < 3; ++turn) {
    seconds_before.push_back(bench::median_seconds(
        context.device(), [&] { mixture.one_by_one(hidden); }, runs));
    seconds.push_back(bench::median_seconds(
        context.device(), [&] { mixture.together(hidden); }, runs));
    ratios.push_back(seconds_before.back() / seconds.back());
  }
  const auto [least, most] = std::ranges::minmax(ratios);
  fmt::print("{}: {} experts of {} columns, hidden {}, {} tokens to {} each\n", sizes.name, sizes.experts,
             sizes.columns, sizes.hidden, sizes.tokens, sizes.each);
  fmt::print("  one by one {:.2f} ms, together {:.2f} ms, ratio {:.2f} to {:.2f}\n",
             1e3 * std::ranges::min(seconds_before), 1e3 * std::ranges::min(seconds), least, most);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  const int runs = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  const Device device = visible_gpus().empty() ? Device::cpu : Device::cuda;
  const ops::Context context(device, 0, device == Device::cpu ? DType::f32 : DType::bf16);
  measure(context, {"tiny experts", 64, 64, 256, 512, 8}, runs);
  measure(context, {"few tokens", 64, 64, 256, 8, 8}, runs);
  measure(context, {"large experts", 128, 768, 2048, 256, 8}, runs);
  if (device == Device::cuda) measure(context, {"large experts, many tokens", 128, 768, 2048, 8192, 8}, runs);
  return 0;
} catch (const Error& error) {
  fmt::print(stderr, "bench_mixture: error: {}\n", error.what());
  return 3;
}
