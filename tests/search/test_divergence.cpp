// The first order of the divergence at a pruned model, and the databases whose end losses come from it.
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"
#include "support/small_run.hpp"

#include <cmath>
#include <fmt/format.h>

#include <galapagos/assignment/stitched_source.hpp>
#include <galapagos/assignment/weight_in_place.hpp>
#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/sensitivity.hpp>
#include <galapagos/pruning/sketch.hpp>

using namespace galapagos;

namespace {

/// A small model, a database of it and an assignment in which some modules are whole and some gone.
struct Pruned {
  explicit Pruned(const Communicator& world, const test::SharedFolder& folder, const std::string& name)
      : options(test::small_database(name, folder / (name + ".h5"))) {
    options.precision = DType::f32;
    built = test::code_of_build(world, options) == 0;
    checkpoint.emplace(options.model);
    config = read_hf_config(options.model);
    database.emplace(options.output);
    space = load_space(world, *database, config, hex64(checkpoint->fingerprint()));
    std::int16_t level = 2;
    std::string text;
    for (const ModuleChoices& module : space.modules) {
      assignment.push_back(static_cast<std::int16_t>(level % (module.last() + 1)));
      text += name_of(module.id) + ": " + std::to_string(assignment.back()) + "\n";
      level = static_cast<std::int16_t>(level + 3);
    }
    path = folder / (name + ".txt");
    if (world.is_root()) test::write_text(path, text);
    world.barrier();
  }

  std::vector<float> in_place(const ModuleId& module) const {
    return weight_in_place(*checkpoint, config, *database, space, assignment, module);
  }

  SensitivityModel measured(const ops::Context& context) const {
    SensitivityModel model;
    model.config = config;
    model.fingerprint = hex64(checkpoint->fingerprint());
    model.assignment_fingerprint = "assigned";
    for (std::size_t i = 0; i < assignment.size(); ++i)
      model.kept.push_back(std::ssize(space.modules[i].kept[static_cast<std::size_t>(assignment[i])]));
    model.source = [this, &context](int shard, int shards) {
      return stitched_source(context, *checkpoint, config, *database, space, assignment, DType::f32, shard,
                             shards);
    };
    model.dense = [this](int shard, int shards) {
      return checkpoint_source(*checkpoint, config, part_of_model(config, shard, shards), DType::f32,
                               Device::cpu);
    };
    model.in_place = [this](const ModuleId& module) { return in_place(module); };
    return model;
  }

  DatabaseOptions options;
  bool built = false;
  std::optional<Checkpoint> checkpoint;
  HfConfig config;
  std::optional<DatabaseReader> database;
  SearchSpace space;
  Assignment assignment;
  std::filesystem::path path;
};

SensitivityOptions options_of(const Pruned& pruned, const std::filesystem::path& output) {
  SensitivityOptions options;
  options.model = pruned.options.model;
  options.calibration = pruned.options.calibration;
  options.calibration_tokens = 500;
  options.sequence_length = 64;
  options.batch_tokens = 96;
  options.checkpoint_tokens = 96;
  options.seed = 3;
  options.divergence = true;
  options.output = output;
  return options;
}

/// Collective. 0 where it ended well.
int measure(const Communicator& world, const Pruned& pruned, const SensitivityOptions& options) {
  const ops::Context context;
  try {
    measure_sensitivities(world, context, options, pruned.measured(context));
  } catch (const Error& error) {
    CHECK(error.agreed());
    return static_cast<int>(error.code());
  }
  return 0;
}

/// The logits of a model whose modules have the weights given, transposed, of all their columns.
class WholeModel {
 public:
  explicit WholeModel(const Pruned& pruned)
      : config_(pruned.config),
        embedding_(load_embedding(*pruned.checkpoint, pruned.config, DType::f32, Device::cpu)),
        head_(load_head(*pruned.checkpoint, pruned.config, DType::f32, Device::cpu)),
        forward_(context_, config_, 64) {
    for (std::int64_t layer = 0; layer < config_.layers; ++layer)
      layers_.push_back(load_layer(*pruned.checkpoint, config_, layer, DType::f32, Device::cpu));
  }

  void put(const ModuleId& module, const std::vector<float>& weight) {
    LayerWeights& layer = layers_[static_cast<std::size_t>(module.layer)];
    const OwnedTensor& to = module.kind == ModuleKind::attention ? layer.attention.o : layer.ffn.down;
    const std::int64_t hidden = to->rows(), columns = to->columns();
    for (std::int64_t i = 0; i < hidden; ++i) {
      for (std::int64_t j = 0; j < columns; ++j)
        to->floats()[i * columns + j] = weight[static_cast<std::size_t>(j * hidden + i)];
    }
  }

  OwnedTensor logits(std::span<const std::int32_t> tokens) {
    const auto count = static_cast<std::int64_t>(tokens.size());
    const std::vector<std::int64_t> offsets = {0, count};
    const OwnedTensor hidden({count, config_.hidden_size}, DType::f32, Device::cpu, "test");
    ops::embed(context_, tokens, embedding_, hidden);
    for (const LayerWeights& layer : layers_) forward_.run(layer, offsets, hidden);
    OwnedTensor logits({count, config_.vocab_size}, DType::f32, Device::cpu, "test");
    compute_logits(context_, config_, head_, hidden, logits);
    return logits;
  }

 private:
  ops::Context context_;
  HfConfig config_;
  OwnedTensor embedding_;
  HeadWeights head_;
  LayerForward forward_;
  std::vector<LayerWeights> layers_;
};

/// Mean over all tokens of KL(unpruned || model), in fp64 from the logits on.
double divergence(WholeModel& dense, WholeModel& model, const TokenSet& data) {
  double sum = 0;
  for (std::size_t s = 0; s + 1 < data.offsets.size(); ++s) {
    const auto tokens =
        std::span(data.tokens).subspan(data.offsets[s], data.offsets[s + 1] - data.offsets[s]);
    const OwnedTensor p = dense.logits(tokens), q = model.logits(tokens);
    const std::int64_t width = p->columns();
    for (std::int64_t t = 0; t < p->rows(); ++t) {
      const float *a = p->floats() + t * width, *b = q->floats() + t * width;
      double sum_a = 0, sum_b = 0, difference = 0;
      for (std::int64_t v = 0; v < width; ++v) sum_a += std::exp(static_cast<double>(a[v]));
      for (std::int64_t v = 0; v < width; ++v) sum_b += std::exp(static_cast<double>(b[v]));
      for (std::int64_t v = 0; v < width; ++v)
        difference += std::exp(static_cast<double>(a[v])) / sum_a * (static_cast<double>(a[v]) - b[v]);
      sum += difference - std::log(sum_a) + std::log(sum_b);
    }
  }
  return sum / static_cast<double>(data.tokens.size());
}

TokenSet tokens_of(const Communicator& world, const SensitivityOptions& options, const HfConfig& config) {
  return load_model_sequences(world, options.calibration, options.model, config,
                              {options.sequence_length, options.calibration_tokens, false});
}

double inner(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double norm(const std::vector<float>& a) {
  return std::sqrt(inner(a, a));
}

std::vector<float> moved(const std::vector<float>& from, const std::vector<float>& along, double step) {
  std::vector<float> to = from;
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += static_cast<float>(step * along[i]);
  return to;
}

/// The greatest difference of two files, of each module's numbers relative to their greatest; infinite where
/// one cannot be read.
double distance(const std::filesystem::path& first, const std::filesystem::path& second) {
  try {
    const SensitivityReader a(first), b(second);
    double worst = 0;
    for (const ModuleId& module : a.header().modules()) {
      const auto compare = [&](const std::vector<float>& x, const std::vector<float>& y) {
        double greatest = 0, most = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
          greatest = std::max(greatest, std::abs(static_cast<double>(y[i])));
          most = std::max(most, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
        }
        if (most > 0) worst = std::max(worst, most / greatest);
      };
      compare(a.values(module), b.values(module));
      compare(a.first_order(module), b.first_order(module));
      compare(a.in_place(module), b.in_place(module));
    }
    return worst;
  } catch (const Error&) {
    return INFINITY;
  }
}

}  // namespace

TEST_CASE("the first order is the slope of the divergence, also where columns are pruned", "[divergence]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const std::string name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny"}) {
    const Pruned pruned(world, folder, name);
    CHECK(pruned.built);
    const SensitivityOptions options = options_of(pruned, folder / (name + "_s.h5"));
    CHECK(measure(world, pruned, options) == 0);
    const TokenSet data = tokens_of(world, options, pruned.config);
    if (world.is_root()) {
      const SensitivityReader reader(options.output);
      WholeModel dense(pruned), model(pruned);
      for (const ModuleChoices& module : pruned.space.modules)
        model.put(module.id, pruned.in_place(module.id));
      CHECK(divergence(dense, model, data) > 0.01);
      std::mt19937 random(7);
      for (std::size_t i = 0; i < pruned.space.modules.size(); ++i) {
        const ModuleId& module = pruned.space.modules[i].id;
        const std::vector<float> at = reader.in_place(module), c = reader.first_order(module);
        CHECK(at == pruned.in_place(module));
        // Up the slope; and what a random change of all columns finds of it.
        const OwnedTensor noise =
            test::random_tensor({static_cast<std::int64_t>(c.size())}, random, DType::f32, 1);
        const std::vector<float> any(noise->floats(), noise->floats() + noise->elements());
        for (const auto& [direction, tolerance] :
             {std::pair(c, 0.01), std::pair(moved(c, any, norm(c) / norm(any)), 0.03)}) {
          const double step = 0.05 / norm(direction);
          model.put(module, moved(at, direction, step));
          const double above = divergence(dense, model, data);
          model.put(module, moved(at, direction, -step));
          const double below = divergence(dense, model, data);
          model.put(module, at);
          INFO(name << " " << name_of(module) << " level " << pruned.assignment[i]);
          CHECK((above - below) / (2 * step) == Approx(inner(c, direction)).epsilon(tolerance));
        }
      }
    }
    world.barrier();
  }
}

TEST_CASE("the first order is the same over stages, lanes and shards, and after stops", "[divergence]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Pruned pruned(world, folder, "llama3_tiny");
  const SensitivityOptions whole = options_of(pruned, folder / "one.h5");
  const Communicator only_root = world.split(world.is_root() ? 0 : 1, world.rank());
  if (world.is_root()) CHECK(measure(only_root, pruned, whole) == 0);
  world.barrier();
  SensitivityOptions options = whole;
  for (int lanes = 0; lanes <= world.size(); ++lanes) {
    options.lanes = lanes;
    options.output = folder / fmt::format("lanes-{}.h5", lanes);
    CHECK(measure(world, pruned, options) == 0);
    INFO(world.size() << " ranks, " << lanes << " lanes");
    CHECK(distance(options.output, whole.output) < 1e-4);
  }
  options.lanes = 0;
  if (world.size() % 2 == 0) {
    options.shards = 2;
    options.output = folder / "shards.h5";
    CHECK(measure(world, pruned, options) == 0);
    CHECK(distance(options.output, whole.output) < 1e-3);
    options.shards = 1;
  }
  // Stopped at every saving; a window of batches lies between two of them.
  options.lanes = 1;
  options.calibration_tokens = 320 * world.size();
  options.sequence_length = options.batch_tokens = options.checkpoint_tokens = 16;
  options.output = folder / "unstopped.h5";
  CHECK(measure(world, pruned, options) == 0);
  const std::filesystem::path expected = options.output;
  int stops = 0;
  options.output = folder / "stopped.h5";
  options.max_seconds = 1e-9;
  for (int code = static_cast<int>(ExitCode::stopped_early); code != 0 && stops < 30;) {
    options.resume = stops > 0 ? Resume::yes : Resume::no;
    code = measure(world, pruned, options);
    stops += code == 0 ? 0 : 1;
    CHECK((code == 0 || code == static_cast<int>(ExitCode::stopped_early)));
  }
  CHECK(stops >= 1);
  CHECK(distance(options.output, expected) == 0);
  // Not taken up without it.
  options.output = folder / "other.h5";
  options.resume = Resume::no;
  CHECK(measure(world, pruned, options) == static_cast<int>(ExitCode::stopped_early));
  options.resume = Resume::yes;
  options.divergence = false;
  CHECK(measure(world, pruned, options) == static_cast<int>(ExitCode::bad_input));
}

TEST_CASE("a database on the path says what levels change of the divergence", "[divergence]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Pruned pruned(world, folder, "tiny");  // trained: what is pruned is missed
  SensitivityOptions options = options_of(pruned, folder / "s.h5");
  // H and C of the same tokens.
  options.calibration_tokens = pruned.options.calibration_tokens;
  options.sequence_length = pruned.options.sequence_length;
  const auto form = GENERATE(SensitivityForm::full, SensitivityForm::scalar, SensitivityForm::lowrank);
  options.form = form;
  options.rank = form == SensitivityForm::lowrank ? 8 : 0;
  CHECK(measure(world, pruned, options) == 0);
  DatabaseOptions database = pruned.options;
  database.output = folder / "path.h5";
  database.path = pruned.path;
  database.sensitivity = options.output;
  CHECK(test::code_of_build(world, database) == 0);
  if (world.is_root()) {
    const SensitivityReader sensitivity(options.output);
    const DatabaseReader reader(database.output);
    CHECK(reader.header().end_loss_from == "kl");
    const HfConfig& config = pruned.config;
    const std::int64_t hidden = config.hidden_size;
    // Only the first module's inputs are known without going along the path: those of the unpruned model.
    const ModuleId module = pruned.space.modules.front().id;
    const std::vector<float> at = sensitivity.in_place(module), c = sensitivity.first_order(module);
    std::vector<float> g = sensitivity.values(module);
    if (form == SensitivityForm::lowrank) g = lower_of_sketch(g, options.rank, hidden);
    const TokenSet data =
        load_model_sequences(Communicator::self(), database.calibration, database.model, config,
                             {database.sequence_length, database.calibration_tokens, false});
    const ops::Context context;
    const OwnedTensor embedding = load_embedding(*pruned.checkpoint, config, DType::f32, Device::cpu);
    const LayerWeights layer = load_layer(*pruned.checkpoint, config, 0, DType::f32, Device::cpu);
    LayerForward forward(context, config, 128);
    std::vector<std::vector<float>> inputs;
    for (std::size_t s = 0; s + 1 < data.offsets.size(); ++s) {
      const auto tokens =
          std::span(data.tokens).subspan(data.offsets[s], data.offsets[s + 1] - data.offsets[s]);
      const OwnedTensor states({std::ssize(tokens), hidden}, DType::f32, Device::cpu, "test");
      ops::embed(context, tokens, embedding, states);
      const std::vector<std::int64_t> offsets = {0, std::ssize(tokens)};
      forward.attention(layer.attention, offsets, states, [&](const Tensor& input) {
        for (std::int64_t t = 0; t < input.rows(); ++t)
          inputs.emplace_back(input.floats() + t * input.columns(),
                              input.floats() + (t + 1) * input.columns());
      });
    }
    const std::vector<double> found = reader.end_loss(module);
    for (std::int64_t level = 0; level < std::ssize(found); ++level) {
      std::vector<float> weight(at.size());
      if (level == 0) {
        const Assignment zero(pruned.assignment.size(), 0);
        weight = weight_in_place(*pruned.checkpoint, config, reader, pruned.space, zero, module);
      } else {
        const std::vector<std::int64_t> kept = reader.kept(module, level);
        const std::vector<std::byte> words = reader.level_bytes(module, level);
        std::vector<float> rows(kept.size() * static_cast<std::size_t>(hidden));
        convert_to_float(reader.header().dtype, words.data(), rows);
        for (std::size_t i = 0; i < kept.size(); ++i)
          std::copy_n(rows.data() + static_cast<std::int64_t>(i) * hidden, hidden,
                      weight.data() + kept[i] * hidden);
      }
      const std::vector<float> change = moved(weight, at, -1);
      // Mean over tokens of (D a)^T G (D a) / 2, without H.
      double curvature = 0;
      for (const std::vector<float>& a : inputs) {
        std::vector<double> y(static_cast<std::size_t>(hidden));
        for (std::size_t j = 0; j < a.size(); ++j) {
          for (std::size_t i = 0; i < y.size(); ++i)
            y[i] += static_cast<double>(a[j]) * change[j * y.size() + i];
        }
        for (std::size_t i = 0; i < y.size(); ++i) {
          if (form == SensitivityForm::scalar) {
            curvature += static_cast<double>(g[0]) * y[i] * y[i] / 2;
            continue;
          }
          curvature += static_cast<double>(g[i * (i + 3) / 2]) * y[i] * y[i] / 2;
          for (std::size_t j = 0; j < i; ++j)
            curvature += static_cast<double>(g[i * (i + 1) / 2 + j]) * y[i] * y[j];
        }
      }
      const double first = inner(c, change), second = curvature / static_cast<double>(inputs.size());
      INFO(name_of(form) << " level " << level << ": " << first << " + " << second);
      CHECK(std::abs(found[static_cast<std::size_t>(level)] - (first + second)) <
            0.01 * (std::abs(first) + second) + 1e-7);
    }
  }
  world.barrier();

  // Assignments take them as they are, also where they are negative.
  const DatabaseReader reader(database.output);
  const SearchSpace space = load_space(world, reader, pruned.config, hex64(pruned.checkpoint->fingerprint()));
  CHECK(space.has_end_losses());
  double least = 0;
  for (const ModuleChoices& module : space.modules)
    least = std::min(least, *std::min_element(module.end_loss.begin(), module.end_loss.end()));
  CHECK(least < 0);

  // On another path, or on none, they would mean nothing.
  DatabaseOptions other = database;
  other.output = folder / "other.h5";
  other.path.reset();
  CHECK(test::code_of_build(world, other) == 3);
  other = test::on_path(world, other, 1, 0);
  CHECK(test::code_of_build(world, other) == 3);
}
