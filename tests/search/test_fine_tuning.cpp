#include "replica_bench.hpp"
#include "support/catch.hpp"
#include "synthetic_search.hpp"

#include <algorithm>
#include <cmath>

#include <galapagos/assignment/stitched_source.hpp>
#include <galapagos/model/training_pass.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/optimiser.hpp>

using namespace galapagos;
using Bench = test::ReplicaBench;
using test::draw_of;
using test::ModelSearch;

namespace {

FineTuning at_rate(double rate, bool unmasked = false) {
  FineTuning tuning;
  tuning.options.learning_rate = rate;
  tuning.unmasked = unmasked;
  return tuning;
}

bool same_bits(const ModelWeights& a, const ModelWeights& b) {
  const std::vector<NamedTensor> first = parameters_of(a), second = parameters_of(b);
  return std::equal(first.begin(), first.end(), second.begin(), second.end(),
                    [](const NamedTensor& x, const NamedTensor& y) {
                      return x.name == y.name && x.tensor.shape == y.tensor.shape &&
                             x.tensor.dtype == y.tensor.dtype &&
                             std::equal(x.tensor.data, x.tensor.data + x.tensor.bytes(), y.tensor.data);
                    });
}

// Mean negative log-likelihood of a candidate after one pass over `training`, from the parts alone: the
// model read through the database, a step of AdamW for each sequence, the plain evaluation.
double nll_by_hand(const Bench& bench, const Assignment& assignment, double rate, const TokenDraw& training,
                   const TokenDraw& draw) {
  const ModelSearch& model = bench.model;
  const ModelSource source = stitched_source(bench.context, model.checkpoint, model.config, model.database,
                                             model.space, assignment, bench.precision);
  const ModelWeights weights = load_model_weights(source);
  const auto alone = make_mpi_collectives(Communicator::self());
  ShardedAdamW optimiser(*alone, bench.context, weights, bench.precision, {});
  const Gradients gradients(weights, Device::cpu);
  TrainingPass pass(bench.context, source.config, 64, false);
  for (std::size_t s = 0; s + 1 < training.offsets.size(); ++s) {
    const std::size_t length = training.offsets[s + 1] - training.offsets[s];
    if (length < 2) continue;
    const Batch batch{std::span(training.tokens).subspan(training.offsets[s], length),
                      {0, static_cast<std::int64_t>(length)}};
    pass.run(weights, batch, 1.0f / static_cast<float>(length - 1), {}, gradients);
    optimiser.step(gradients, rate, 0);
  }
  const TokenSet set{draw.tokens, draw.offsets};
  return sum_nll(bench.context, source.config, weights, set, 64) / static_cast<double>(draw.predicted());
}

}  // namespace

TEST_CASE("a fine-tuned candidate is compared as the small model that one pass of AdamW makes of it",
          "[replica][training]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "gemma3_tiny"}) {
    const ModelSearch model =
        test::make_model_search(world, test::small_database(name, folder / (std::string(name) + ".h5")));
    std::mt19937 random(4);
    for (const DType precision : {DType::f32, DType::bf16}) {
      Bench bench(world, model, precision);
      const TokenDraw training = draw_of(model, 150, 1), draw = draw_of(model, 60, 2);
      std::vector<Assignment> candidates(3, Assignment(model.space.modules.size(), 0));
      candidates[1] = model.random_assignment(random);
      candidates[2] = model.random_assignment(random);
      constexpr double rate = 1e-2;
      const std::vector<double> found =
          bench.tuned({FitnessKind::nll, 0}, at_rate(rate), candidates, training, draw);
      const std::vector<double> before =
          bench.replica.fitness({FitnessKind::nll, 0}, candidates[0], candidates, model.pool, draw, {}, {})
              .value();
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        INFO(name << " " << name_of(precision) << " candidate " << i);
        const double expected = nll_by_hand(bench, candidates[i], rate, training, draw);
        CHECK(std::abs(found[i] - expected) < 1e-6);
        CHECK(std::abs(found[i] - before[i]) > 1e-3);  // the training has an effect
        CHECK(same_bits(
            bench.replica.weights_of(candidates[i], false),
            load_model_weights(stitched_source(bench.context, model.checkpoint, model.config, model.database,
                                               model.space, candidates[i], precision))));
      }
      // What one candidate learned is forgotten before the next, and activation checkpointing changes
      // nothing.
      FineTuning again = at_rate(rate);
      again.options.recompute = true;
      CHECK(bench.tuned({FitnessKind::nll, 0}, again, {candidates[2], candidates[1], candidates[0]}, training,
                        draw) == std::vector<double>(found.rbegin(), found.rend()));
      const std::vector<double> still =
          bench.replica.fitness({FitnessKind::nll, 0}, candidates[0], candidates, model.pool, draw, {}, {})
              .value();
      CHECK(still == before);
    }
  }
}

TEST_CASE("nothing learned is the fitness without training, in either form", "[replica][training]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  Bench bench(world, model, DType::f32);
  std::mt19937 random(5);
  const std::vector<Assignment> candidates = {model.random_assignment(random),
                                              model.random_assignment(random)};
  const TokenDraw training = draw_of(model, 2, 1), draw = draw_of(model, 60, 2);
  for (const FitnessKind kind : {FitnessKind::kl, FitnessKind::sparse_kl, FitnessKind::ppl}) {
    const Fitness fitness{kind, 10};
    const std::vector<double> plain =
        bench.replica.fitness(fitness, candidates[0], candidates, model.pool, draw, bench.answers, {})
            .value();
    for (const bool unmasked : {false, true}) {
      const std::vector<double> tuned =
          bench.tuned(fitness, at_rate(1e-30, unmasked), candidates, training, draw);
      for (std::size_t i = 0; i < candidates.size(); ++i)
        CHECK(std::abs(tuned[i] - plain[i]) < 1e-6 * std::max(1.0, plain[i]));
    }
  }
}

TEST_CASE("pruned weights grow again only in the form of the reference", "[replica][training]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  Bench bench(world, model, DType::f32);
  std::mt19937 random(6);
  const Assignment assignment = model.random_assignment(random);
  const TokenDraw draw = draw_of(model, 200, 1);
  const TokenSet lessons{draw.tokens, draw.offsets};
  const ModelWeights weights = bench.replica.weights_of(assignment, true);
  // Columns of down_proj and o_proj that were pruned: all zero, or not.
  const auto zero_columns = [&](std::int64_t& zero, std::int64_t& pruned) {
    zero = pruned = 0;
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      const ModuleChoices& module = model.space.modules[i];
      const LayerWeights& layer = weights.layers[static_cast<std::size_t>(module.id.layer)];
      const Tensor& weight = module.id.kind == ModuleKind::attention ? layer.attention.o : layer.ffn.down;
      const auto& kept = module.kept[static_cast<std::size_t>(assignment[i])];
      for (std::int64_t column = 0; column < weight.columns(); ++column) {
        if (std::binary_search(kept.begin(), kept.end(), column)) continue;
        ++pruned;
        bool all = true;
        for (std::int64_t row = 0; row < weight.rows(); ++row)
          all = all && weight.floats()[row * weight.columns() + column] == 0.0f;
        zero += all ? 1 : 0;
      }
    }
  };
  std::int64_t zero = 0, pruned = 0;
  zero_columns(zero, pruned);
  CHECK(pruned > 0);
  CHECK(zero == pruned);
  CHECK(fine_tune(bench.context, bench.replica.config_of(assignment, true), weights, DType::f32, lessons, {},
                  {}) == FineTuneEnd::done);
  zero_columns(zero, pruned);
  CHECK(zero < pruned / 10);
}

TEST_CASE("a candidate that cannot be trained has no fitness, and training stops when asked to",
          "[replica][training]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  Bench bench(world, model, DType::f32);
  const std::vector<Assignment> candidates(1, Assignment(model.space.modules.size(), 1));
  const TokenDraw training = draw_of(model, 150, 1), draw = draw_of(model, 60, 2);
  const std::vector<double> found =
      bench.tuned({FitnessKind::kl, 0}, at_rate(1e30), candidates, training, draw);
  CHECK(std::isnan(found.front()));
  for (int allowed = 0; allowed < 4; ++allowed) {
    int asked = 0;
    const auto stopped =
        bench.replica.tuned_fitness({FitnessKind::kl, 0}, at_rate(1e-3), candidates, training, model.pool,
                                    draw, bench.answers, [&] { return asked++ == allowed; });
    CHECK(!stopped);
    CHECK(asked == allowed + 1);
  }
}

TEST_CASE("a search that trains its candidates is the same on any number of ranks", "[replica][training]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  test::SyntheticSearch search;
  search.space = model.space;
  search.pool = model.pool;
  search.options.islands = 2;
  search.options.generations = 2;
  search.options.offspring = 4;
  search.options.stages = {{2, 40, 0}, {1, 60, 120}};
  search.options.compare_tokens = 80;
  search.options.eval_every = 0;
  search.topology("ring", "1", 1);
  search.budget = Budget::of_level(model.space, 2);
  const auto run = [&](const Communicator& comm) {
    Bench bench(comm, model, DType::bf16);
    test::Hooks hooks;
    hooks.training = true;
    hooks.evaluate = [&](const Assignment& base, std::span<const Assignment> candidates,
                         const StageTokens& tokens, const std::function<bool()>& stop) {
      const Fitness fitness{FitnessKind::kl, 1};
      if (tokens.training.tokens.empty()) {
        return bench.replica.fitness(fitness, base, candidates, model.pool, tokens.compared, bench.answers,
                                     stop);
      }
      CHECK(tokens.training.tokens.size() == 120);
      return bench.replica.tuned_fitness(fitness, at_rate(1e-3), candidates, tokens.training, model.pool,
                                         tokens.compared, bench.answers, stop);
    };
    return test::run_search(comm, search, hooks);
  };
  const test::Outcome expected = run(Communicator::self()), found = run(world);
  CHECK(expected.code == 0);
  CHECK(test::text_of(found.last) == test::text_of(expected.last));
  if (world.is_root()) CHECK(found.said == expected.said);
  for (const IslandState& island : found.last.islands) {
    // Two survivors, the parent and at most one immigrant are trained in each generation.
    CHECK(island.training_tokens >= 2 * 3 * 120);
    CHECK(island.training_tokens <= 2 * 4 * 120);
  }
}
