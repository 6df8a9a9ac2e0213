// Hessians of experts and what the tokens made of them, against sums in fp64 over tokens that a naive router
// sends to them; and databases of mixtures.
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"
#include "support/small_run.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/pruning/hessian.hpp>
#include <galapagos/pruning/passes.hpp>

using namespace galapagos;

namespace {

using Row = std::vector<double>;

/// A row of weight [out, in] times x.
double dot(const Tensor& weight, std::int64_t row, const Row& x) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    sum += static_cast<double>(weight.floats()[row * weight.columns() + static_cast<std::int64_t>(i)]) * x[i];
  return sum;
}

Row product(const Tensor& weight, const Row& x) {
  Row out;
  for (std::int64_t row = 0; row < weight.rows(); ++row) out.push_back(dot(weight, row, x));
  return out;
}

struct Expected {
  std::map<ModuleId, Row> hessians;  // [n, n], lower triangle
  ExpertUses uses;
};

/// What a token before the feed-forward part of a mixture adds.
void add_token(const HfConfig& config, std::int64_t layer, const FfnWeights& ffn, Row x, double scale,
               Expected& expected) {
  const double mean = std::inner_product(x.begin(), x.end(), x.begin(), 0.0) / static_cast<double>(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] *= static_cast<double>(ffn.norm->floats()[i]) / std::sqrt(mean + config.rms_norm_eps);
  Row p = product(ffn.router, x);
  for (double& value : p) value = std::exp(value);
  const double all = std::accumulate(p.begin(), p.end(), 0.0);
  std::vector<std::size_t> chosen(p.size());
  std::iota(chosen.begin(), chosen.end(), 0);
  std::ranges::stable_sort(chosen, std::greater(), [&](std::size_t e) { return p[e]; });
  chosen.resize(std::min(p.size(), static_cast<std::size_t>(config.mixture->experts_per_token)));
  double of_chosen = 0;
  for (const std::size_t e : chosen) of_chosen += p[e];
  for (const std::size_t e : chosen) {
    const double w = p[e] / (config.mixture->renormalised ? of_chosen : all);
    const ExpertWeights& expert = *ffn.experts[e];
    const Row gate = product(expert.gate, x), up = product(expert.up, x);
    Row a;
    for (std::size_t c = 0; c < gate.size(); ++c) a.push_back(w * gate[c] / (1 + std::exp(-gate[c])) * up[c]);
    const Row out = product(expert.down, a);
    const ModuleId module{layer, ModuleKind::ffn, static_cast<std::int64_t>(e)};
    const double squares = std::inner_product(a.begin(), a.end(), a.begin(), 0.0);
    expected.uses[module] +=
        {1, w, std::sqrt(std::inner_product(out.begin(), out.end(), out.begin(), 0.0)), squares};
    Row& h = expected.hessians[module];
    h.resize(a.size() * a.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      for (std::size_t j = 0; j <= i; ++j) h[i * a.size() + j] += scale * a[i] * a[j];
  }
}

struct Sequences {
  explicit Sequences(std::int64_t vocabulary) {
    std::mt19937 random(4);
    for (int sequence = 0; sequence < 9; ++sequence) {
      for (std::size_t i = 1 + random() % 30; i > 0; --i)
        tokens.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(vocabulary)));
      offsets.push_back(tokens.size());
    }
  }
  std::vector<std::int32_t> tokens;
  std::vector<std::uint64_t> offsets = {0};
};

/// One sequence at a time through the whole model; of mixtures the naive form.
Expected expected_of(const Checkpoint& checkpoint, const HfConfig& config, const Sequences& sequences) {
  const ops::Context context;
  Expected expected;
  const OwnedTensor embedding = load_embedding(checkpoint, config, DType::f32, Device::cpu);
  LayerForward forward(context, config, 64);
  for (std::size_t s = 0; s + 1 < sequences.offsets.size(); ++s) {
    const std::size_t first = sequences.offsets[s], count = sequences.offsets[s + 1] - first;
    const OwnedTensor hidden = test::poisoned({static_cast<std::int64_t>(count), config.hidden_size});
    embed_tokens(context, config, alone(), std::span(sequences.tokens).subspan(first, count), embedding,
                 hidden);
    const std::vector<std::int64_t> one = {0, static_cast<std::int64_t>(count)};
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      const LayerWeights weights = load_layer(checkpoint, config, layer, DType::f32, Device::cpu);
      forward.attention(weights.attention, one, hidden);
      for (std::int64_t t = 0; weights.ffn.mixture() && t < hidden->rows(); ++t) {
        const auto row = hidden->slice(t, 1).float_span();
        add_token(config, layer, weights.ffn, Row(row.begin(), row.end()), 2.0 / 9, expected);
      }
      forward.feed_forward(weights.ffn, hidden);
    }
  }
  return expected;
}

/// The largest difference of the lower triangles, relative to the largest value.
double difference(const Tensor& h, const Row& wanted) {
  const std::int64_t n = h.rows();
  double worst = 0, scale = 1e-300;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      const double truth = wanted.empty() ? 0 : wanted[static_cast<std::size_t>(i * n + j)],
                   error = std::abs(truth - static_cast<double>(h.floats()[i * n + j]));
      scale = std::max(scale, std::abs(truth));
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
  }
  return worst == 0 ? 0 : worst / scale;
}

/// About the least memory that a build of one lane can do with, which then takes several passes.
std::uint64_t memory_for_passes(const Communicator& world, const DatabaseOptions& options) {
  const HfConfig config = read_hf_config(options.model);
  const std::vector<ModuleId> modules = modules_of(config);
  const PipelineGrid grid = make_pipeline_grid(layer_costs(config), world.size(), options.lanes);
  for (std::uint64_t limit = 1 << 18; limit < 1 << 22; limit += 4096) {
    try {
      const auto passes =
          plan_passes(config, grid, {DType::f32, options.batch_tokens, Device::cpu, false}, modules, limit);
      CHECK(passes.size() > 1);
      return limit;
    } catch (const ResourceError&) {
    }
  }
  return 0;
}

}  // namespace

TEST_CASE("Hessians of experts are sums over the tokens that go to them, for any grid", "[hessian]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  for (const char* model : {"qwen3_moe_tiny", "qwen3_moe_odd", "mixtral_tiny", "qwen3_moe_pruned"}) {
    const std::filesystem::path folder = test::data_file("models") / model;
    const HfConfig config = read_hf_config(folder);
    const Checkpoint checkpoint(folder);
    const Sequences sequences(config.vocab_size);
    const Expected expected = expected_of(checkpoint, config, sequences);
    const std::vector<ModuleId> modules = modules_of(config);
    // Some of the modules, as in one of several passes: what use experts are of is told of all.
    std::vector<ModuleId> some;
    for (std::size_t i = 0; i < modules.size(); i += 2) some.push_back(modules[i]);
    const std::vector<Batch> batches = make_batches(sequences.tokens, sequences.offsets, 40);
    for (int lanes = 1; lanes <= world.size(); ++lanes) {
      INFO(model << ", " << lanes << " lanes");
      const PipelineGrid grid = make_pipeline_grid(
          std::vector<double>(static_cast<std::size_t>(config.layers), 1.0), world.size(), lanes);
      const StageWeights stage =
          grid.member(world.rank())
              ? load_stage(checkpoint_source(checkpoint, config, DType::f32, Device::cpu),
                           grid.spans[static_cast<std::size_t>(grid.stage_of(world.rank()))])
              : StageWeights{};
      FailureBoard board(world);
      Collected collected = collect_hessians(context, world, {grid, config, batches, 9}, stage, some, board);
      board.settle();
      const ExpertUses uses = sum_uses(world, modules, collected.uses);
      const std::vector<int> owners = assign_owners(some, config, grid, world.size());
      const Hessians found =
          reduce_to_owners(world, grid, config, some, owners, std::move(collected.hessians));

      std::vector<double> tokens_of_layer(static_cast<std::size_t>(config.layers), 0.0);
      for (const ModuleId& module : modules) {
        CHECK(uses.contains(module) == (module.expert != no_expert));
        if (module.expert == no_expert) continue;
        const auto truth = expected.uses.find(module);
        const ExpertUse wanted = truth == expected.uses.end() ? ExpertUse() : truth->second;
        const ExpertUse& use = uses.at(module);
        INFO(name_of(module));
        CHECK(use.tokens == wanted.tokens);
        CHECK(use.weights == Approx(wanted.weights).epsilon(1e-4));
        CHECK(use.outputs == Approx(wanted.outputs).epsilon(1e-4));
        CHECK(use.squares == Approx(wanted.squares).epsilon(1e-4));
        tokens_of_layer[static_cast<std::size_t>(module.layer)] += use.tokens;
      }
      for (std::int64_t layer = 0; layer < config.layers; ++layer) {
        const std::int64_t each = std::min<std::int64_t>(config.mixture->experts_per_token,
                                                         std::ssize(config.shape(layer).experts));
        CHECK(tokens_of_layer[static_cast<std::size_t>(layer)] ==
              static_cast<double>(each * std::ssize(sequences.tokens)));
      }
      for (std::size_t m = 0; m < some.size(); ++m) {
        CHECK(found.contains(some[m]) == (owners[m] == world.rank()));
        if (owners[m] != world.rank() || some[m].expert == no_expert || !found.contains(some[m])) continue;
        const auto truth = expected.hessians.find(some[m]);
        INFO(name_of(some[m]));
        CHECK(difference(found.at(some[m]), truth == expected.hessians.end() ? Row() : truth->second) < 1e-4);
      }
    }
  }
}

TEST_CASE("uses are summed alike on every rank, in the order of ranks", "[hessian]") {
  const Communicator world = Communicator::world();
  const HfConfig config = read_hf_config(test::data_file("models/qwen3_moe_tiny"));
  const std::vector<ModuleId> modules = modules_of(config);
  const auto of_rank = [&](int rank) {
    ExpertUses uses;
    for (const ModuleId& module : modules) {
      if (module.expert == no_expert || (module.layer + module.expert + rank) % 3 == 0) continue;
      const double value = std::exp(static_cast<double>(rank)) / (1 + static_cast<double>(module.expert));
      uses[module] = {static_cast<double>(rank + 1), value, 3 * value, value / 7};
    }
    return uses;
  };
  const ExpertUses found = sum_uses(world, modules, of_rank(world.rank()));
  ExpertUses wanted;
  for (const ModuleId& module : modules)
    if (module.expert != no_expert) wanted[module];
  for (int rank = 0; rank < world.size(); ++rank)
    for (const auto& [module, use] : of_rank(rank)) wanted[module] += use;
  CHECK(found.size() == 18);
  for (const auto& [module, use] : wanted) {
    CHECK(found.contains(module));
    if (!found.contains(module)) continue;
    const ExpertUse& sum = found.at(module);
    CHECK(std::tie(sum.tokens, sum.weights, sum.outputs, sum.squares) ==
          std::tie(use.tokens, use.weights, use.outputs, use.squares));
  }
  const std::vector<ModuleId> dense = {{0, ModuleKind::attention}, {0, ModuleKind::ffn}};
  CHECK(sum_uses(world, dense, {}).empty());
}

TEST_CASE("a mixture's database is the same in several passes, and gone on with", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DatabaseOptions plain = test::small_database("qwen3_moe_tiny", folder / "plain.h5");
  plain.lanes = 1;
  CHECK(test::code_of_build(world, plain) == 0);
  DatabaseOptions passes = plain;
  passes.output = folder / "passes.h5";
  passes.memory_limit = memory_for_passes(world, passes);
  CHECK(test::code_of_build(world, passes) == 0);
  if (world.is_root()) {
    CHECK(test::compare(plain.output, passes.output).same_bits);
    const DatabaseReader reader(plain.output);
    double tokens = 0;
    for (const ModuleId& module : reader.header().modules()) {
      const std::optional<ExpertUse> use = reader.use(module);
      CHECK(use.has_value() == (module.expert != no_expert));
      if (use) tokens += use->tokens;
    }
    CHECK(tokens == static_cast<double>(3 * 2 * reader.header().calibration_tokens));
  }
  world.barrier();

  // As a run leaves it that was killed after its first modules.
  if (world.is_root()) {
    std::filesystem::rename(passes.output, part_path(passes.output));
    Hdf5File file = Hdf5File::open_to_change(part_path(passes.output));
    for (const char* module :
         {"/modules/0/ffn", "/modules/1/ffn/3", "/modules/1/ffn/4", "/modules/3/ffn/0"}) {
      file.write_values<std::uint8_t>(std::string(module) + "/state", Hdf5Type::u8, {0});
      const Hdf5DatasetInfo info = file.describe(std::string(module) + "/level_1/weight");
      file.write(std::string(module) + "/level_1/weight", info.type,
                 std::vector<std::byte>(info.elements * size_of(info.type)));
      if (file.has(std::string(module) + "/use"))
        file.write_values<double>(std::string(module) + "/use", Hdf5Type::f64, {0, 0, 0, 0});
    }
    file.write_attribute("/", "complete", std::int64_t{0});
    file.close();
  }
  world.barrier();
  passes.resume = Resume::yes;
  passes.memory_limit = plain.memory_limit;
  CHECK(test::code_of_build(world, passes) == 0);
  if (world.is_root()) CHECK(test::compare(plain.output, passes.output).same_bits);
  world.barrier();

  // What the file says of an expert's use is under its checksum.
  if (world.is_root()) {
    Hdf5File file = Hdf5File::open_to_change(passes.output);
    file.write_values<double>("/modules/2/ffn/5/use", Hdf5Type::f64, {1, 2, 3, 4});
    file.close();
  }
  world.barrier();
  CHECK(test::code_of_build(world, passes) == 3);
  passes.repair = true;
  CHECK(test::code_of_build(world, passes) == 0);
  if (world.is_root()) CHECK(test::compare(plain.output, passes.output).same_bits);
  world.barrier();
}
