#include "scripted_signals.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "training/distil_setup.hpp"
#include "training_run.hpp"

#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/calibration_batches.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>
#include <galapagos/training/distil.hpp>

using namespace galapagos;

namespace {

namespace fs = std::filesystem;
using Bytes = std::map<std::string, std::vector<std::byte>>;

/// How a distillation ended, and what it wrote.
struct End {
  int code = 0;
  std::string message;
  std::vector<Json> metrics;
  Bytes changed;  ///< of every tensor that it trained; empty where it did not come to the end
};

/// Collective; never throws.
End distil(const Communicator& comm, const DistilOptions& options) {
  End end;
  const ChangedModelWriter keep = [&](const Checkpoint&, const HfConfig&, std::span<const Checkpoint> changed,
                                      const fs::path&) {
    for (const Checkpoint& layer : changed) {
      for (const std::string& name : layer.names()) {
        const auto data = layer.entry(name).data;
        end.changed[name].assign(data.begin(), data.end());
      }
    }
  };
  try {
    run_distillation(comm, ops::Context(), options, keep);
  } catch (const Error& error) {
    end.code = static_cast<int>(error.code());
    end.message = error.what();
  }
  comm.barrier();
  std::ifstream lines(options.output / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) end.metrics.push_back(Json::parse(line));
  comm.barrier();
  return end;
}

/// Rewrites the weights of a model folder in fp32.
void widen(const fs::path& folder) {
  std::vector<std::vector<float>> values;
  std::vector<TensorEntry> entries;
  {
    const Checkpoint checkpoint(folder);
    for (const std::string& name : checkpoint.names()) {
      const TensorEntry& entry = checkpoint.entry(name);
      values.push_back(checkpoint.read_float(name, entry.shape));
      entries.push_back({name, "F32", entry.shape, std::as_bytes(std::span(values.back()))});
    }
  }
  write_safetensors(folder / "model.safetensors", entries);
}

/// Collective. `name` pruned, in fp32, beside a tokenizer, toward the unpruned model of its family.
DistilOptions small_distillation(const Communicator& comm, const std::string& name,
                                 const test::SharedFolder& folder) {
  DistilOptions options;
  options.model = folder / name;
  test::copy_with_tokenizer(comm, name, options.model);
  if (comm.is_root()) widen(options.model);
  comm.barrier();
  options.reference = test::data_file("models/" + name.substr(0, name.find('_')) + "_tiny");
  options.data = {test::data_file("text/sample.jsonl")};
  options.output = folder / "run";
  options.tokens = 3000;
  options.sequence_length = 48;
  options.step_tokens = 300;
  options.batch_tokens = 100;
  options.learning_rate = 2e-3;
  options.precision = DType::f32;
  options.seed = 5;
  return options;
}

/// A positive definite G for every module of a model, lower triangles row by row.
std::vector<float> random_curvature(std::int64_t hidden, std::uint32_t module) {
  RandomStream random(77, {module, 0, 0, 0});
  const auto n = static_cast<std::size_t>(hidden);
  std::vector<double> root(n * n);
  for (double& value : root) value = random.below(2001) / 1000.0 - 1;
  std::vector<float> lower;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = i == j ? 1 : 0;
      for (std::size_t k = 0; k < n; ++k) sum += root[i * n + k] * root[j * n + k];
      lower.push_back(static_cast<float>(3e-4 * sum));
    }
  }
  return lower;
}

/// Collective.
fs::path write_curvatures(const Communicator& comm, const fs::path& model, const fs::path& output,
                          const std::string& fingerprint = "") {
  SensitivityHeader header;
  header.config = read_hf_config(model);
  header.model_fingerprint = fingerprint.empty() ? hex64(Checkpoint(model).fingerprint()) : fingerprint;
  header.calibration_tokens = 1;
  Sensitivities mine;
  std::uint32_t number = 0;
  for (const ModuleId& module : header.modules()) {
    if (number % static_cast<std::uint32_t>(comm.size()) == static_cast<std::uint32_t>(comm.rank()))
      mine[module].curvature = random_curvature(header.config.hidden_size, number);
    ++number;
  }
  write_sensitivities(comm, output, header, 0, mine);
  return output;
}

/// The mean over tokens of e^T M e / hidden size behind the first layer, one thing after the other.
class FirstLayer {
 public:
  FirstLayer(const Communicator& comm, const DistilOptions& options, std::span<const float> curvature)
      : config_(read_hf_config(options.model)), forward_(context_, config_, options.sequence_length) {
    const Checkpoint model(options.model), reference(options.reference);
    const HfConfig dense = read_hf_config(options.reference);
    text_ = load_model_sequences(comm, options.data, options.model, config_,
                                 {options.sequence_length, options.tokens, false});
    fitted_ = hold_out(text_, "test");
    layer = load_layer(model, config_, 0, DType::f32, Device::cpu);
    const LayerWeights whole = load_layer(reference, dense, 0, DType::f32, Device::cpu);
    const OwnedTensor embedding = load_embedding(model, config_, DType::f32, Device::cpu);
    LayerForward forward(context_, dense, options.sequence_length);
    for (std::size_t s = 0; s < text_.sequences(); ++s) {
      const std::int64_t count = std::ssize(text_.sequence(s));
      for (auto* states : {&inputs_, &targets_}) {
        states->emplace_back(Shape{count, config_.hidden_size}, DType::f32, Device::cpu, "test");
        ops::embed(context_, text_.sequence(s), embedding, states->back());
      }
      forward.run(whole, std::vector<std::int64_t>{0, count}, targets_.back());
    }
    const auto n = static_cast<std::size_t>(config_.hidden_size);
    metric_.assign(n * n, 0);
    for (std::size_t i = 0; i < n; ++i) metric_[i * n + i] = 1;
    if (curvature.empty()) return;
    double trace = 0;
    for (std::size_t i = 0; i < n; ++i) trace += curvature[i * (i + 3) / 2];
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        const double value = curvature[i * (i + 1) / 2 + j] * static_cast<double>(n) / trace;
        metric_[i * n + j] = metric_[j * n + i] = value + (i == j ? 1e-3 : 0);
      }
    }
  }

  double error(bool held_out) {
    const auto n = static_cast<std::size_t>(config_.hidden_size);
    double sum = 0, tokens = 0;
    for (std::size_t s = held_out ? fitted_ : 0; s < (held_out ? text_.sequences() : fitted_); ++s) {
      const OwnedTensor states = copy_of(inputs_[s], Device::cpu, "test");
      forward_.run(layer, std::vector<std::int64_t>{0, states->rows()}, states);
      const auto a = states->float_span(), b = targets_[s]->float_span();
      for (std::size_t t = 0; t < a.size(); t += n) {
        for (std::size_t i = 0; i < n; ++i) {
          double product = 0;
          for (std::size_t j = 0; j < n; ++j)
            product += metric_[i * n + j] * (static_cast<double>(a[t + j]) - b[t + j]);
          sum += (static_cast<double>(a[t + i]) - b[t + i]) * product;
        }
        ++tokens;
      }
    }
    return sum / tokens / static_cast<double>(n);
  }

  LayerWeights layer;

 private:
  ops::Context context_;
  HfConfig config_;
  TokenSet text_;
  std::size_t fitted_ = 0;
  LayerForward forward_;
  std::vector<OwnedTensor> inputs_, targets_;
  std::vector<double> metric_;
};

double greatest_difference(const Bytes& a, const Bytes& b) {
  if (a.empty() || a.size() != b.size()) return INFINITY;
  double greatest = 0;
  for (const auto& [name, bytes] : a) {
    const std::vector<std::byte>& others = b.at(name);
    if (bytes.size() != others.size()) return INFINITY;
    const auto* x = reinterpret_cast<const float*>(bytes.data());
    const auto* y = reinterpret_cast<const float*>(others.data());
    for (std::size_t i = 0; i < bytes.size() / sizeof(float); ++i)
      greatest = std::max(greatest, std::abs(static_cast<double>(x[i]) - y[i]));
  }
  return greatest;
}

}  // namespace

TEST_CASE("one update of a layer is AdamW's first step down the error weighed by G", "[distil]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned"}) {
    DistilOptions options = small_distillation(world, name, folder);
    options.refit = false;
    options.epochs = 1;
    options.step_tokens = 1 << 20;
    options.learning_rate = 1e-4;
    for (const bool weighed : {false, true}) {
      CAPTURE(name, weighed);
      options.output = folder / fmt::format("{}-{}", name, weighed);
      if (weighed)
        options.sensitivity =
            write_curvatures(world, options.reference, folder / (std::string(name) + ".h5"));
      const End end = distil(world, options);
      INFO(end.message);
      CHECK(end.code == 0);
      const std::int64_t hidden = read_hf_config(options.model).hidden_size;
      std::vector<float> curvature;
      if (weighed) curvature = random_curvature(hidden, 1);  // of the first layer's feed-forward part
      FirstLayer oracle(world, options, curvature);
      const bool there = !end.metrics.empty() && end.metrics[0].at("layer") == 0;
      CHECK(there);
      if (!there) continue;
      CHECK(end.metrics[0].at("error_before").get<double>() == Approx(oracle.error(false)).epsilon(1e-4));
      CHECK(end.metrics[0].at("held_out_before").get<double>() == Approx(oracle.error(true)).epsilon(1e-4));
      CHECK(end.metrics[0].at("error") < end.metrics[0].at("error_before"));
      const std::map<std::string, OwnedTensor*> parameters = {
          {"self_attn.q_proj.weight", &oracle.layer.attention.q},
          {"self_attn.v_proj.weight", &oracle.layer.attention.v},
          {"self_attn.o_proj.weight", &oracle.layer.attention.o},
          {"input_layernorm.weight", &oracle.layer.attention.norm},
          {"mlp.gate_proj.weight", &oracle.layer.ffn.gate},
          {"mlp.down_proj.weight", &oracle.layer.ffn.down},
          {"post_attention_layernorm.weight", &oracle.layer.ffn.norm}};
      int compared = 0;
      for (const auto& [part, tensor] : parameters) {
        const auto found = end.changed.find("model.layers.0." + part);
        if (found == end.changed.end()) continue;
        const auto* after = reinterpret_cast<const float*>(found->second.data());
        const std::span<float> values = (*tensor)->float_span();
        for (std::size_t i = 0; i < values.size(); i += values.size() / 5) {
          const float before = values[i];
          constexpr float step = 2e-2f;
          values[i] = before + step;
          const double above = oracle.error(false);
          values[i] = before - step;
          const double below = oracle.error(false);
          values[i] = before;
          const double slope = (above - below) / (2 * step);
          CAPTURE(part, i, slope);
          if (std::abs(slope) < 1e-3) continue;
          ++compared;
          CHECK(after[i] - before == Approx(slope > 0 ? -1e-4 : 1e-4).epsilon(1e-2));
        }
      }
      CHECK(compared > 10);
    }
  }
}

TEST_CASE("ranks share the text evenly also where an update is a sequence", "[distil]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DistilOptions options = small_distillation(world, "llama3_pruned", folder);
  options.step_tokens = 1;
  DistilSetup setup;
  prepare_distillation(world, ops::Context(), options, setup);
  const auto mine = static_cast<std::int64_t>(setup.mine.sequences()), all = world.sum(mine);
  CHECK(setup.schedule.steps / options.epochs > all / 2);
  CHECK(std::abs(mine * world.size() - all) < world.size());
}

TEST_CASE("every layer gets nearer to the unpruned model, the same on any number of ranks", "[distil]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DistilOptions options = small_distillation(world, "llama3_pruned", folder);
  const End end = distil(world, options);
  INFO(end.message);
  CHECK(end.code == 0);
  CHECK(end.metrics.size() >= 3);
  for (const Json& line : end.metrics)
    CHECK(line.at("held_out").get<double>() < 0.95 * line.at("held_out_before").get<double>());
  CHECK(!fs::exists(options.output / "layers"));
  options.output = folder / fmt::format("alone-{}", world.rank());
  const End alone = distil(Communicator::self(), options);
  CHECK(greatest_difference(end.changed, alone.changed) < 2e-4);
}

TEST_CASE("a distillation that is stopped and resumed is bit for bit the one without stops", "[distil]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DistilOptions options = small_distillation(world, "qwen2_pruned", folder);
  options.tokens = 1200;
  const End whole = distil(world, options);
  INFO(whole.message);
  CHECK(whole.code == 0);
  for (const int after : {0, 3, 12}) {
    options.output = folder / fmt::format("stopped-{}", after);
    int stops = 0;
    End found;
    for (int question = after; stops < 100; question = 20, ++stops) {
      test::stop_at_question(world.rank() + 1 == world.size() ? question + 1 : -1);
      found = distil(world, options);
      test::stop_at_question(-1);
      if (found.code != static_cast<int>(ExitCode::stopped_early)) break;
    }
    INFO("after " << after << ": " << found.message);
    CHECK(stops >= 1);
    CHECK(found.code == 0);
    CHECK(found.changed == whole.changed);
    CHECK(found.metrics == whole.metrics);
  }
}

TEST_CASE("the fit alone brings the layers nearer, and makes a training go further", "[distil]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DistilOptions options = small_distillation(world, "llama3_pruned", folder);
  const auto last_error = [&](bool refit, std::int64_t epochs) {
    options.refit = refit;
    options.epochs = epochs;
    options.output = folder / fmt::format("{}-{}", refit, epochs);
    const End end = distil(world, options);
    INFO(end.message);
    CHECK(end.code == 0);
    return end.metrics.empty() ? INFINITY : end.metrics.back().at("held_out").get<double>();
  };
  const double trained = last_error(false, 2), fitted = last_error(true, 0), both = last_error(true, 2);
  options.learning_rate = 0;  // a layer as it was is no better
  const double before = last_error(false, 1);
  CAPTURE(before, trained, fitted, both);
  CHECK(fitted < 0.97 * before);
  CHECK(trained < 0.97 * before);
  CHECK(both < 0.9 * trained);
}

TEST_CASE("a layer that gets no better on held-out text stays as it was", "[distil]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DistilOptions options = small_distillation(world, "llama3_pruned", folder);
  options.learning_rate = 0.3;
  options.refit = false;
  const End end = distil(world, options);
  INFO(end.message);
  CHECK(end.code == 0);
  const Checkpoint parent(options.model);
  int stayed = 0;
  for (const Json& line : end.metrics) {
    CHECK(line.at("held_out") == line.at(fmt::format("held_out_{}", line.at("kept").get<std::string>())));
    CHECK(line.at("held_out").get<double>() <= line.at("held_out_before").get<double>());
    if (line.at("kept") != "before") {
      CHECK(line.at("held_out_trained").get<double>() < line.at("held_out_before").get<double>());
      continue;
    }
    ++stayed;
    CHECK(line.at("held_out_trained").get<double>() >= line.at("held_out_before").get<double>());
    for (const auto& [name, bytes] : end.changed) {
      if (!name.starts_with(fmt::format("model.layers.{}.", line.at("layer").get<int>()))) continue;
      const auto data = parent.entry(name).data;
      CHECK(std::equal(data.begin(), data.end(), bytes.begin(), bytes.end()));
    }
  }
  CHECK(stayed > 0);
  // With a fit before it, a training that does harm leaves the fit.
  options.refit = true;
  options.output = folder / "fitted";
  const End fitted = distil(world, options);
  CHECK(fitted.code == 0);
  CHECK(std::any_of(fitted.metrics.begin(), fitted.metrics.end(), [](const Json& line) {
    return line.at("kept") == "fitted" && line.at("held_out") == line.at("held_out_fitted") &&
           line.at("held_out") < line.at("held_out_before");
  }));
}

TEST_CASE("a distillation refuses what does not belong together, on every rank", "[distil]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DistilOptions usual = small_distillation(world, "llama3_pruned", folder);
  const auto code = [&](const DistilOptions& options) { return distil(world, options).code; };
  DistilOptions options = usual;
  options.reference = test::data_file("models/qwen2_tiny");
  CHECK(code(options) == 3);
  options = usual;
  options.sensitivity = write_curvatures(world, usual.reference, folder / "other.h5", "0123456789abcdef");
  CHECK(code(options) == 3);
  options = usual;
  options.epochs = -1;
  CHECK(code(options) == 2);
  options = usual;
  options.memory_limit = 1000;
  CHECK(code(options) == 4);
  options = usual;
  options.resume = Resume::yes;
  CHECK(code(options) == 3);
  CHECK(!fs::exists(usual.output));
  // Another run's folder is left alone.
  options = usual;
  options.output = folder / "training";
  if (world.is_root()) {
    fs::create_directories(options.output);
    write_file_atomically(options.output / "metrics.jsonl", "{\"step\":1}\n");
  }
  world.barrier();
  CHECK(code(options) == 3);
  CHECK(read_file(options.output / "metrics.jsonl") == "{\"step\":1}\n");
  options = usual;
  options.resume = Resume::yes;
  // A run that was begun goes on only as it was begun.
  test::stop_at_question(20);
  CHECK(code(usual) == static_cast<int>(ExitCode::stopped_early));
  test::stop_at_question(-1);
  options.resume = Resume::no;
  CHECK(code(options) == 3);
  options.resume = Resume::automatic;
  options.learning_rate = 1e-5;
  CHECK(code(options) == 3);
  options.learning_rate = usual.learning_rate;
  // Nor from a layer whose file changed since.
  const fs::path layer = usual.output / "layers" / "0000" / "model.safetensors";
  const std::string whole = read_file(layer);
  const auto leave = [&](const std::string& text) {
    if (world.is_root()) write_file_atomically(layer, text);
    world.barrier();
  };
  std::string flipped = whole;
  flipped[whole.size() - 100] ^= 1;
  for (const std::string& damaged : {flipped, whole.substr(0, whole.size() - 8), std::string()}) {
    leave(damaged);
    const End end = distil(world, options);
    CHECK(end.code == 3);
    if (world.is_root()) CHECK(end.message.find("remove the layer's folder") != std::string::npos);
  }
  leave(whole);
  const std::string config = read_file(usual.model / "config.json");
  const auto change = [&](const std::string& text) {
    if (world.is_root()) write_file_atomically(usual.model / "config.json", text);
    world.barrier();
  };
  Json other = parse_json(config, "config.json");
  other["rms_norm_eps"] = 1e-3;
  change(other.dump());
  CHECK(code(options) == 3);
  change(config);
  CHECK(code(options) == 0);
  CHECK(code(options) == 0);  // complete
  options.learning_rate = 1e-5;
  CHECK(code(options) == 3);
}
