#include "replica_bench.hpp"
#include "support/catch.hpp"
#include "support/flip_byte.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <galapagos/assignment/space_part.hpp>
#include <galapagos/assignment/stitched_source.hpp>
#include <galapagos/comm/agreement.hpp>
#include <galapagos/training/batch_gradient.hpp>

using namespace galapagos;
using Bench = test::ReplicaBench;
using test::draw_of;
using test::ModelSearch;

namespace {

constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();

/// Unlike random ones also: nothing pruned, everything pruned.
std::vector<Assignment> some_assignments(const ModelSearch& model) {
  std::mt19937 random(7);
  std::vector<Assignment> all = {Assignment(model.space.modules.size(), 0)};
  Assignment last;
  for (const ModuleChoices& module : model.space.modules) last.push_back(module.last());
  all.push_back(last);
  for (int i = 0; i < 4; ++i) all.push_back(model.random_assignment(random));
  return all;
}

bool near(const std::vector<double>& found, const std::vector<double>& expected, double tolerance) {
  return std::equal(found.begin(), found.end(), expected.begin(), expected.end(), [&](double a, double b) {
    return std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b));
  });
}

}  // namespace

TEST_CASE("a replica on shards measures what one on a single rank does", "[replica]") {
  const Communicator world = Communicator::world();
  for (const char* name :
       {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "biased_tiny", "phi3_tiny", "gemma3_tiny"}) {
    const test::SharedFolder folder(world);
    const ModelSearch model = test::make_model_search(world, test::small_database(name, folder / "x.h5"));
    Bench whole(world, model, DType::f32);
    const std::vector<Assignment> candidates = some_assignments(model);
    const Assignment& base = candidates[2];
    const TokenDraw draw = draw_of(model, 100), lessons = draw_of(model, 60, 1);
    for (const LevelHome home : {LevelHome::host, LevelHome::file}) {
      Bench sharded(world, model, DType::f32, home, home == LevelHome::file ? 0 : no_limit, true);
      double furthest = 0, greatest = 0;
      for (std::size_t i = 0; i < whole.answers.size(); ++i) {
        furthest = std::max(furthest, static_cast<double>(std::abs(sharded.answers[i] - whole.answers[i])));
        greatest = std::max(greatest, static_cast<double>(std::abs(whole.answers[i])));
      }
      CHECK(furthest < 1e-5 * greatest);
      for (const Fitness& fitness : {Fitness{FitnessKind::kl, 0}, Fitness{FitnessKind::sparse_kl, 20},
                                     Fitness{FitnessKind::tv, 0}, Fitness{FitnessKind::nll, 0}}) {
        const std::vector<double> expected = whole.fitness(fitness, base, candidates, draw),
                                  found = sharded.fitness(fitness, base, candidates, draw);
        INFO(name << ' ' << static_cast<int>(fitness.kind));
        CHECK(near(found, expected, 1e-5));
        std::vector<double> of_root = found;
        world.broadcast(of_root);
        CHECK(found == of_root);
      }
    }
    Bench sharded(world, model, DType::f32, LevelHome::file, no_limit, true);
    for (const bool unmasked : {false, true}) {
      FineTuning tuning;
      tuning.options.learning_rate = 1e-4;
      tuning.unmasked = unmasked;
      const std::vector<double> expected = whole.tuned({}, tuning, candidates, lessons, draw),
                                found = sharded.tuned({}, tuning, candidates, lessons, draw);
      CHECK(near(found, expected, 1e-4));
    }
  }
}

TEST_CASE("shards' parts of a space are slabs that cover it", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  for (const int shards : {1, 2, 3, 4, 7}) {
    std::vector<SpacePart> parts;
    for (int shard = 0; shard < shards; ++shard)
      parts.push_back(part_of_space(model.space, model.config, shard, shards));
    std::int64_t fixed = 0;
    for (const SpacePart& part : parts) fixed += part.space.fixed_parameters - model.config.hidden_size;
    CHECK(fixed == model.space.fixed_parameters - model.config.hidden_size);
    for (std::size_t i = 0; i < model.space.modules.size(); ++i) {
      const ModuleChoices& module = model.space.modules[i];
      for (std::size_t level = 0; level < module.kept.size(); ++level) {
        std::vector<std::int64_t> joined;
        for (const SpacePart& part : parts) {
          CHECK(part.first_kept[i][level] == static_cast<std::int64_t>(joined.size()));
          CHECK(part.space.modules[i].gone[level] == module.kept[level].empty());
          const LayerPart& layer = part.model.layers[static_cast<std::size_t>(module.id.layer)];
          const std::int64_t first = module.id.kind == ModuleKind::ffn
                                         ? layer.columns.first
                                         : layer.heads.first * model.config.head_dim;
          for (const std::int64_t column : part.space.modules[i].kept[level])
            joined.push_back(column + first);
        }
        CHECK(joined == module.kept[level]);
      }
    }
  }
}

TEST_CASE("a stitched model on shards has the perplexity of the whole one", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("qwen2_tiny", folder / "x.h5"));
  const ops::Context context;
  const Shards shards(make_mpi_collectives(world),
                      part_of_vocabulary(model.config.vocab_size, world.rank(), world.size()).first);
  for (const Assignment& assignment : some_assignments(model)) {
    const auto source = [&](int shard, int count) {
      return stitched_source(context, model.checkpoint, model.config, model.database, model.space, assignment,
                             DType::f32, shard, count);
    };
    const ModelSource whole = source(0, 1), part = source(world.rank(), world.size());
    const double expected = sum_nll(context, whole.config, load_model_weights(whole), model.pool, 64),
                 found = sum_nll(context, part.config, load_model_weights(part), model.pool, 64, shards);
    CHECK(found == Approx(expected).epsilon(1e-6));
  }
}

TEST_CASE("damage that one shard sees ends the evaluation on all", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions options = test::small_database("llama3_tiny", folder / "x.h5");
  const ModelSearch model = test::make_model_search(world, options);
  Bench sharded(world, model, DType::f32, LevelHome::file, no_limit, true);
  world.barrier();
  if (world.is_root()) test::flip_byte(options.output, "/modules/2/ffn/level_2/weight", 77);
  world.barrier();
  Assignment hit(model.space.modules.size(), 0);
  hit[5] = 2;
  const Assignment dense(model.space.modules.size(), 0);
  const TokenDraw draw = draw_of(model, 40);
  int code = 0;
  bool agreed = false;
  try {
    sharded.fitness({}, dense, {hit}, draw);
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
    agreed = error.agreed() || world.size() == 1;
  }
  CHECK(code == 3);
  CHECK(agreed);
  CHECK(std::isfinite(sharded.fitness({}, dense, {dense}, draw).front()));  // the shards still work together
}
