// What the sensitivities of a small Llama cost, as a share of the gradients of as many tokens in training:
// with a matrix for each module, with its diagonal alone, and with several ids drawn for each token.
//   bench_sensitivity [tokens = 2048] [repeats = 3]
#include "support/files.hpp"
#include "support/tokens.hpp"
#include "synthetic_search_model.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/pruning/sensitivity.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/random_weights.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t sequence_length = 512;

/// Seconds of the gradients of training, at the least.
double training_seconds(const ModelSource& source, const TokenSet& data, std::int64_t batch, int repeats) {
  const ops::Context context;
  const ModelWeights weights = load_model_weights(source);
  const Gradients gradients(weights, Device::cpu);
  TrainingPass pass(context, source.config, batch, false);
  double least = INFINITY;
  for (int i = 0; i < repeats; ++i) {
    const Stopwatch watch;
    add_gradients(pass, weights, data, batch, 1e-3f, nullptr, gradients);
    least = std::min(least, watch.seconds());
  }
  return least;
}

/// Of a whole run, which also loads the model and writes the file.
double sensitivity_seconds(const ModelSource& source, const SensitivityOptions& asked, int repeats) {
  const ops::Context context;
  SensitivityModel model;
  model.config = source.config;
  model.precision = source.precision;
  model.source = [&](int, int) { return source; };
  double least = INFINITY;
  for (int i = 0; i < repeats; ++i) {
    std::filesystem::remove(asked.output);
    const Stopwatch watch;
    measure_sensitivities(Communicator::self(), context, asked, model);
    least = std::min(least, watch.seconds());
  }
  return least;
}

}  // namespace

int main(int argc, char** argv) {
  const MpiEnvironment environment(argc, argv);
  start_logging("off", 0);
  const std::int64_t tokens = argc > 1 ? std::atoll(argv[1]) : 2048;
  const int repeats = argc > 2 ? std::atoi(argv[2]) : 3;
  const HfConfig config = parse_hf_config(bench::synthetic_llama_config(), "synthetic model");
  const ModelSource source = random_source(config, DType::bf16, Device::cpu, 1);
  const TokenSet data = bench::random_tokens(config.vocab_size, tokens, sequence_length, 2);
  const test::TemporaryFolder folder;
  SensitivityOptions options;
  options.calibration = {folder / "tokens.bin"};
  options.output = folder / "s.h5";
  options.calibration_tokens = 0;
  options.sequence_length = sequence_length;
  options.batch_tokens = 1024;
  test::write_token_pair(folder / "tokens", data.tokens, data.offsets);
  const double training = training_seconds(source, data, options.batch_tokens, repeats);
  fmt::print("{} tokens in sequences of {}; gradients in training {:.2f} s, least of {}\n", tokens,
             sequence_length, training, repeats);
  fmt::print("{:>9} {:>8} {:>8} {:>8}\n", "form", "samples", "s", "ratio");
  const auto print = [&](SensitivityForm form, std::int64_t samples) {
    options.form = form;
    options.samples = samples;
    const double seconds = sensitivity_seconds(source, options, repeats);
    fmt::print("{:>9} {:>8} {:>8.2f} {:>8.2f}\n", name_of(form), samples, seconds, seconds / training);
  };
  print(SensitivityForm::full, 1);
  print(SensitivityForm::diagonal, 1);
  print(SensitivityForm::full, 4);
}
