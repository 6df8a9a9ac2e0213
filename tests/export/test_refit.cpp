#include "parent.hpp"
#include "support/catch.hpp"

#include <array>
#include <functional>
#include <optional>
#include <string>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/calibration_batches.hpp>

using namespace galapagos;
using test::Parent;

namespace {

using Doubles = std::vector<double>;

constexpr std::int64_t batch_tokens = 128;

StitchOptions refitting(const std::filesystem::path& output, const Compensation& ridge) {
  StitchOptions options;
  options.output = output;
  options.shard_bytes = 100000;  // several files, so that several ranks own weights
  options.refit.emplace();
  options.refit->calibration = {test::data_file("text/sample.jsonl")};
  options.refit->calibration_tokens = 1500;
  options.refit->sequence_length = 128;
  options.refit->batch_tokens = batch_tokens;
  options.refit->precision = DType::f32;
  options.refit->ridge = ridge;
  return options;
}

void export_model(const Communicator& world, const Parent& parent, const Assignment& assignment,
                  const StitchOptions& options) {
  stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
}

/// What a batch of a module gives and is to give: a [t, k], and (t - x) [t, d].
struct Seen {
  Doubles inputs, targets;
};

/// Naive fp64 sums over tokens: a a^T [k, k] and a (t - x)^T [k, d].
struct Sums {
  std::size_t k = 0, d = 0;
  Doubles gram, cross;

  Sums(std::size_t columns, std::size_t hidden)
      : k(columns), d(hidden), gram(columns * columns), cross(columns * hidden) {}

  void add(const Seen& seen) {
    for (std::size_t t = 0; t * k < seen.inputs.size(); ++t) {
      const double *a = &seen.inputs[t * k], *left = &seen.targets[t * d];
      for (std::size_t i = 0; i < k; ++i) {
        for (std::size_t j = 0; j < k; ++j) gram[i * k + j] += a[i] * a[j];
        for (std::size_t j = 0; j < d; ++j) cross[i * d + j] += a[i] * left[j];
      }
    }
  }
  /// sum |W a - (t - x)|^2 of W [k, d], but for what does not depend on it.
  double error(const Doubles& w) const {
    double sum = 0;
    for (std::size_t j = 0; j < d; ++j) {
      for (std::size_t i = 0; i < k; ++i) {
        double product = 0;
        for (std::size_t l = 0; l < k; ++l) product += gram[i * k + l] * w[l * d + j];
        sum += w[i * d + j] * (product - 2 * cross[i * d + j]);
      }
    }
    return sum;
  }
  /// argmin sum |W a - (t - x)|^2 + ridge * mean diagonal * |W - W_0|^2, by Gaussian elimination.
  Doubles fit(const Doubles& w0, double ridge) const {
    double lambda = 0;
    for (std::size_t i = 0; i < k; ++i) lambda += ridge * gram[i * k + i] / static_cast<double>(k);
    Doubles m = gram, w = cross;
    for (std::size_t i = 0; i < k; ++i) {
      m[i * k + i] += lambda;
      for (std::size_t j = 0; j < d; ++j) w[i * d + j] += lambda * w0[i * d + j];
    }
    for (std::size_t i = 0; i < k; ++i) {
      for (std::size_t row = 0; row < k; ++row) {
        const double factor = row == i ? 0 : m[row * k + i] / m[i * k + i];
        if (factor == 0) continue;
        for (std::size_t j = i; j < k; ++j) m[row * k + j] -= factor * m[i * k + j];
        for (std::size_t j = 0; j < d; ++j) w[row * d + j] -= factor * w[i * d + j];
      }
    }
    for (std::size_t i = 0; i < k; ++i)
      for (std::size_t j = 0; j < d; ++j) w[i * d + j] /= m[i * k + i];
    return w;
  }
};

Doubles doubles_of(const Tensor& t) {
  return {t.floats(), t.floats() + t.elements()};
}

/// A level as it is stored, or the model's own weight, [kept, hidden].
Doubles level_of(const Parent& parent, const ModuleId& module, std::int64_t level) {
  const DatabaseHeader& header = parent.database.header();
  const std::int64_t kept = header.kept_columns(module, level), hidden = parent.config.hidden_size;
  std::vector<float> values(static_cast<std::size_t>(kept * hidden));
  if (level >= header.first_stored()) {
    convert_to_float(header.dtype, parent.database.level_bytes(module, level).data(), values);
    return {values.begin(), values.end()};
  }
  const LayerWeights layer =
      load_layer(parent.checkpoint, parent.config, module.layer, DType::f32, Device::cpu);
  const Tensor weight = module.kind == ModuleKind::attention ? layer.attention.o : layer.ffn.down;
  Doubles turned(values.size());
  for (std::int64_t row = 0; row < hidden; ++row)
    for (std::int64_t column = 0; column < kept; ++column)
      turned[static_cast<std::size_t>(column * hidden + row)] = weight.floats()[row * kept + column];
  return turned;
}

/// What the walk along an exported model finds.
struct Walk {
  std::size_t fitted = 0;  ///< batches; the others are held out
  double distance = 0;     ///< mean squared, between the last hidden states and the unpruned model's
  std::vector<ModuleId> modules;
  std::vector<std::vector<Seen>> seen;  ///< of each of them, by batch
  std::vector<Doubles> weights;         ///< [kept, hidden]
};

Walk walk(const Communicator& world, const Parent& parent, const std::filesystem::path& exported,
          const RefitOptions& options) {
  TokenSet data = load_model_sequences(world, options.calibration, parent.folder, parent.config,
                                       {options.sequence_length, options.calibration_tokens, false});
  const CalibrationBatches all = calibration_batches(
      data, options.batch_tokens, options.ridge.ridge ? std::nullopt : std::optional<std::string>("test"));
  const std::vector<Batch>& batches = all.all;
  const HfConfig config = read_hf_config(exported);
  const Checkpoint checkpoint(exported);
  const ops::Context context;
  const OwnedTensor embedding = load_embedding(parent.checkpoint, parent.config, DType::f32, Device::cpu);
  LayerForward dense(context, parent.config, 512), pruned(context, config, 512);
  std::vector<OwnedTensor> targets, states;
  for (const Batch& batch : batches) {
    for (auto* stream : {&targets, &states}) {
      stream->emplace_back(Shape{static_cast<std::int64_t>(batch.tokens.size()), config.hidden_size},
                           DType::f32, Device::cpu, "test");
      ops::embed(context, batch.tokens, embedding, stream->back());
    }
  }
  Walk found;
  found.fitted = all.fitted;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerWeights whole = load_layer(parent.checkpoint, parent.config, layer, DType::f32, Device::cpu);
    const LayerWeights part = load_layer(checkpoint, config, layer, DType::f32, Device::cpu);
    for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
      const bool attention = kind == ModuleKind::attention;
      const bool there = attention ? part.attention.present() : part.ffn.present();
      std::vector<Seen> seen;
      for (std::size_t b = 0; b < batches.size(); ++b) {
        Seen now;
        const Doubles before = doubles_of(states[b]);
        const auto tap = [&](const Tensor& input) { now.inputs = doubles_of(input); };
        if (attention) {
          dense.attention(whole.attention, batches[b].offsets, targets[b]);
          if (there) pruned.attention(part.attention, batches[b].offsets, states[b], tap);
        } else {
          dense.feed_forward(whole.ffn, targets[b]);
          if (there) pruned.feed_forward(part.ffn, states[b], tap);
        }
        now.targets = doubles_of(targets[b]);
        for (std::size_t i = 0; i < before.size(); ++i) now.targets[i] -= before[i];
        seen.push_back(std::move(now));
      }
      if (!there) continue;
      const Tensor weight = attention ? part.attention.o : part.ffn.down;
      Doubles turned(static_cast<std::size_t>(weight.elements()));
      for (std::int64_t i = 0; i < weight.rows(); ++i)
        for (std::int64_t j = 0; j < weight.columns(); ++j)
          turned[static_cast<std::size_t>(j * weight.rows() + i)] = weight.floats()[i * weight.columns() + j];
      found.modules.push_back({layer, kind});
      found.seen.push_back(std::move(seen));
      found.weights.push_back(std::move(turned));
    }
  }
  for (std::size_t b = 0; b < batches.size(); ++b)
    for (std::int64_t i = 0; i < states[b]->elements(); ++i)
      found.distance += std::pow(static_cast<double>(states[b]->floats()[i]) - targets[b]->floats()[i], 2);
  found.distance /= static_cast<double>(data.tokens.size());
  return found;
}

/// Compares every weight of an export with the fit that fp64 makes of what reaches it there.
void check_fits(const Parent& parent, const Assignment& assignment, const Walk& found, const Json& refit,
                bool automatic) {
  constexpr std::array grid = {0.03, 0.1, 0.3, 1.0, 3.0, 10.0};
  const auto hidden = static_cast<std::size_t>(parent.config.hidden_size);
  std::size_t number = 0;
  for (std::size_t m = 0; m < found.modules.size(); ++m) {
    while (parent.space.modules[number].id != found.modules[m]) ++number;
    CAPTURE(name_of(found.modules[m]), assignment[number]);
    const Doubles stored = level_of(parent, found.modules[m], assignment[number]);
    const std::size_t k = stored.size() / hidden;
    Sums all(k, hidden), training(k, hidden), held_out(k, hidden);
    for (std::size_t b = 0; b < found.seen[m].size(); ++b) {
      all.add(found.seen[m][b]);
      (b >= found.fitted ? held_out : training).add(found.seen[m][b]);
    }
    const Json ridge = refit.at("ridges").at(name_of(found.modules[m]));
    if (automatic) {
      double least = held_out.error(stored);
      const double chosen =
          ridge.is_null() ? least : held_out.error(training.fit(stored, ridge.get<double>()));
      const double scale = std::abs(least) + 1;
      for (const double other : grid) least = std::min(least, held_out.error(training.fit(stored, other)));
      CHECK(chosen <= least + 1e-4 * scale);
    }
    const Doubles expected = ridge.is_null() ? stored : all.fit(stored, ridge.get<double>());
    const Doubles& weight = found.weights[m];
    REQUIRE(weight.size() == expected.size());
    double largest = 0, most = 0;
    for (const double w : expected) largest = std::max(largest, std::abs(w));
    // Beside the rounding to 16 bits.
    for (std::size_t i = 0; i < weight.size(); ++i)
      most = std::max(most, std::abs(weight[i] - expected[i]) - std::abs(expected[i]) / 256);
    CHECK(most < 1e-3 * largest);
    // On the text that it is fitted to, a module comes nearer to its target for sure.
    const double before = all.error(stored), after = all.error(weight);
    if (!ridge.is_null() && std::abs(before - all.error(expected)) > 1e-3 * std::abs(before))
      CHECK(after < before);
  }
}

}  // namespace

TEST_CASE("a refit is the least-squares fit to the unpruned stream on the assignment's own path", "[refit]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const DatabaseOptions plain = test::small_database(name, folder / "plain.h5");
    build_database(world, ops::Context(), plain);
    const DatabaseOptions compensated =
        test::on_path(world, test::small_database(name, folder / "path.h5"), 1, 1, Compensation{0.1});
    build_database(world, ops::Context(), compensated);
    for (const std::filesystem::path& file : {plain.output, compensated.output}) {
      const Parent parent(world, test::data_file(std::string("models/") + name), file);
      Assignment assignment(parent.space.modules.size());
      for (std::size_t i = 0; i < assignment.size(); ++i)
        assignment[i] =
            std::min<std::int16_t>(static_cast<std::int16_t>(i % 4), parent.space.modules[i].last());
      assignment[2] = parent.space.modules[2].last();  // a hole
      StitchOptions without = refitting(folder / (file.stem().string() + "_none"), {});
      without.refit.reset();
      export_model(world, parent, assignment, without);
      for (const Compensation& ridge : {Compensation{0.3}, Compensation{}}) {
        CAPTURE(file.stem().string(), name_of(ridge));
        const StitchOptions options =
            refitting(folder / (file.stem().string() + "_" + name_of(ridge)), ridge);
        export_model(world, parent, assignment, options);
        CHECK(!std::filesystem::exists(part_path(options.output)));
        const Communicator alone = world.split(world.rank(), 0);
        if (world.is_root()) {
          const Json refit = read_json(options.output / "pruning.json").at("refit");
          CHECK(refit.at("ridge") == name_of(ridge));
          CHECK(refit.at("calibration_tokens") == 1500);
          CHECK(!read_json(without.output / "pruning.json").contains("refit"));
          const Walk refitted = walk(alone, parent, options.output, *options.refit);
          check_fits(parent, assignment, refitted, refit, !ridge.ridge);
          const double before = walk(alone, parent, without.output, *options.refit).distance;
          CAPTURE(before, refitted.distance);
          CHECK(refitted.distance < 0.97 * before);
        }
        world.barrier();
      }
    }
  }
}

TEST_CASE("a refit is the same on any number of ranks but for rounding, and in both formats", "[refit]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Parent parent = test::small_parent(world, "llama3_tiny", folder);
  const Assignment assignment = test::with_holes(parent.space);
  const TokenSet data = test::random_tokens(parent.config.vocab_size);
  for (const Compensation& ridge : {Compensation{1.0}, Compensation{}}) {
    const std::string name = name_of(ridge);
    const StitchOptions together = refitting(folder / ("all_" + name), ridge);
    StitchOptions dense = refitting(folder / ("dense_" + name), ridge);
    dense.formats = {&export_format_of("dense")};
    export_model(world, parent, assignment, together);
    export_model(world, parent, assignment, dense);
    const std::vector<double> hf = test::nll_of_folder(world, together.output, data);
    CHECK(test::farthest(test::nll_of_folder(world, dense.output, data), hf) < 1e-5);
    // Of several formats other ranks write other levels.
    StitchOptions both = refitting(folder / ("both_" + name), ridge);
    both.formats = {&export_format_of("dense"), &export_format_of("hf")};
    export_model(world, parent, assignment, both);
    CHECK(test::farthest(test::nll_of_folder(world, both.output / "hf", data), hf) < 1e-5);
    CHECK(test::farthest(test::nll_of_folder(world, both.output / "dense", data), hf) < 1e-5);
    const Communicator one = world.split(world.rank(), 0);
    const StitchOptions alone = refitting(folder / ("one_" + name), ridge);
    if (world.is_root()) export_model(one, parent, assignment, alone);
    world.barrier();
    CHECK(test::farthest(test::nll_of_folder(world, alone.output, data), hf) < 2e-3);
    if (!world.is_root()) continue;
    const Json a = read_json(together.output / "pruning.json"), b = read_json(alone.output / "pruning.json");
    CHECK(a.at("refit") == b.at("refit"));
    CHECK(a.at("layers") == read_json(dense.output / "pruning.json").at("layers"));
  }
}

TEST_CASE("a refit that cannot be done leaves nothing behind", "[refit]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Parent parent = test::small_parent(world, "llama2_tiny", folder);
  const StitchOptions good = refitting(folder / "new", {});
  const auto code = [&](const std::function<void(StitchOptions&)>& change) {
    StitchOptions options = good;
    change(options);
    try {
      export_model(world, parent, Assignment(parent.space.modules.size(), 1), options);
    } catch (const Error& error) {
      CHECK(error.agreed());
      return static_cast<int>(error.code());
    }
    return 0;
  };
  CHECK(code([](StitchOptions& o) { o.refit->calibration.clear(); }) == 2);
  CHECK(code([](StitchOptions& o) { o.refit->batch_tokens = 0; }) == 2);
  CHECK(code([&](StitchOptions& o) { o.refit->calibration = {folder / "none.jsonl"}; }) == 3);
  CHECK(code([](StitchOptions& o) { o.refit->calibration_tokens = 300; }) == 3);  // too few to hold any out
  CHECK(code([&](StitchOptions& o) {
          o.refit->memory_limit = world.rank() + 1 == world.size() ? 1000 : std::uint64_t{1} << 34;
        }) == 4);
  CHECK(!std::filesystem::exists(good.output));
  CHECK(!std::filesystem::exists(part_path(good.output)));
  world.barrier();
  CHECK(code([](StitchOptions&) {}) == 0);
  // Refused before any text is read.
  CHECK(code([&](StitchOptions& o) { o.refit->calibration = {folder / "none.jsonl"}; }) == 3);
}
