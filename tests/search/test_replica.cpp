#include "replica_bench.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/flip_byte.hpp"
#include "synthetic_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>

using namespace galapagos;
using Bench = test::ReplicaBench;
using test::draw_of;
using test::ModelSearch;

namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

Assignment without(const ModelSearch& model, ModuleKind kind) {
  Assignment assignment;
  for (const ModuleChoices& module : model.space.modules)
    assignment.push_back(module.id.kind == kind ? module.last() : std::int16_t{0});
  return assignment;
}

Assignment last_levels(const ModelSearch& model) {
  Assignment assignment;
  for (const ModuleChoices& module : model.space.modules) assignment.push_back(module.last());
  return assignment;
}

// As mutations make them: most modules like those of the base.
std::vector<Assignment> neighbours(const ModelSearch& model, const Assignment& base, int count,
                                   std::mt19937& random) {
  std::vector<Assignment> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(base);
    for (int change = 0; change < 2; ++change) {
      const std::size_t at = random() % base.size();
      const auto levels = static_cast<unsigned>(model.space.modules[at].last()) + 1;
      all.back()[at] = static_cast<std::int16_t>(random() % levels);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("the fitness of any assignment is that of the model with zeros in place of what is gone",
          "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "llama2_tiny", "biased_tiny",
                           "phi3_tiny", "gemma3_tiny"}) {
    for (const AttentionUnit unit : {AttentionUnit::head, AttentionUnit::group}) {
      if (unit == AttentionUnit::group && name != std::string("llama3_tiny")) continue;
      DatabaseOptions options =
          test::small_database(name, folder / (std::string(name) + name_of(unit) + ".h5"));
      options.attention_unit = unit;
      const ModelSearch model = test::make_model_search(world, options);
      std::mt19937 random(1);
      for (const DType precision : std::set{model.checkpoint.dtype(), DType::f32, DType::bf16}) {
        Bench bench(world, model, precision);
        test::FitnessByHand by_hand(model, precision);
        const Assignment dense(model.space.modules.size(), 0);
        std::vector<Assignment> candidates = {dense, last_levels(model),
                                              without(model, ModuleKind::attention),
                                              without(model, ModuleKind::ffn)};
        for (int i = 0; i < 4; ++i) candidates.push_back(model.random_assignment(random));
        const TokenDraw draw = draw_of(model, 40);
        for (const Fitness kind : {Fitness{FitnessKind::kl, 512},
                                   {FitnessKind::sparse_kl, 10},
                                   {FitnessKind::sparse_kl, 100000},
                                   {FitnessKind::tv, 512},
                                   {FitnessKind::ppl, 512},
                                   {FitnessKind::nll, 512}}) {
          const std::vector<double> found = bench.fitness(kind, candidates[5], candidates, draw);
          // Each rank looks at some of them.
          for (auto i = static_cast<std::size_t>(world.rank()); i < candidates.size();
               i += static_cast<std::size_t>(world.size())) {
            const double expected = by_hand(kind, candidates[i], draw);
            INFO(name << " " << name_of(unit) << " " << name_of(precision) << " fitness "
                      << static_cast<int>(kind.kind) << " candidate " << i << ": " << found[i] << " and "
                      << expected);
            CHECK(std::abs(found[i] - expected) < 1e-6 + 1e-5 * std::abs(expected));
          }
          if (row_of(kind.kind).with_dense) {
            // Logits that differ by rounding: a divergence grows with its square, a distance with it.
            CHECK(std::abs(found[0]) < (kind.kind == FitnessKind::tv ? 2e-6 : 1e-7));
            CHECK(found[1] > 1e-6);
          }
        }
      }
    }
  }
}

TEST_CASE("where level 0 is stored it stands in for the model's own weights, but in its answers",
          "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model = test::make_model_search(
      world,
      test::on_path(world, test::small_database("llama3_tiny", folder / "x.h5"), 1, 1, Compensation{0.1}));
  CHECK(model.space.first_stored == 0);
  std::mt19937 random(2);
  const Assignment nothing_removed(model.space.modules.size(), 0);
  std::vector<Assignment> candidates = {nothing_removed, last_levels(model)};
  for (int i = 0; i < 3; ++i) candidates.push_back(model.random_assignment(random));
  const TokenDraw draw = draw_of(model, 40);
  for (const LevelHome home : {LevelHome::file, LevelHome::host}) {
    for (const bool sharded : {false, true}) {
      if (sharded && world.size() > 2) continue;
      Bench bench(world, model, DType::f32, home, unlimited, sharded);
      test::FitnessByHand by_hand(model, DType::f32);
      const std::vector<double> found =
          bench.fitness({FitnessKind::kl, 512}, candidates[2], candidates, draw);
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        const double expected = by_hand({FitnessKind::kl, 512}, candidates[i], draw);
        CHECK(std::abs(found[i] - expected) < 1e-6 + 1e-5 * std::abs(expected));
      }
      CHECK(found[0] > 1e-6);  // compensated weights are not the model's
    }
  }
}

TEST_CASE("a fitness on a whole pool, in batches", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("qwen2_tiny", folder / "x.h5"));
  Bench bench(world, model, DType::f32);
  test::FitnessByHand by_hand(model, DType::f32);
  std::mt19937 random(static_cast<unsigned>(world.rank()) + 1);  // each rank tries another
  const Assignment candidate = model.random_assignment(random);
  const TokenDraw draw = draw_of(model, static_cast<std::int64_t>(model.pool.tokens.size()));
  const Fitness kind{FitnessKind::kl, 1};
  CHECK(bench.fitness(kind, candidate, {candidate}, draw).front() ==
        Approx(by_hand(kind, candidate, draw)).epsilon(1e-5));
}

TEST_CASE("a fitness is the same, bit for bit, whatever else is asked with it", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  const DType precision = model.checkpoint.dtype();
  std::mt19937 random(7);
  const Assignment base = model.random_assignment(random);
  std::vector<Assignment> candidates = neighbours(model, base, 9, random);
  candidates.push_back(base);
  candidates.push_back(candidates[3]);  // twice
  candidates.push_back(Assignment(base.size(), 0));
  candidates.push_back(last_levels(model));
  const TokenDraw draw = draw_of(model, 60);
  Bench first(world, model, precision, LevelHome::device);
  for (const Fitness kind : {Fitness{FitnessKind::kl, 1}, Fitness{FitnessKind::ppl, 1},
                             Fitness{FitnessKind::sparse_kl, 20}, Fitness{FitnessKind::tv, 1}}) {
    std::vector<double> expected;
    for (const Assignment& candidate : candidates)
      expected.push_back(first.fitness(kind, candidate, {candidate}, draw).front());
    const auto same = [&](Bench& bench, const Assignment& from) {
      bool equal = bench.fitness(kind, from, candidates, draw) == expected;
      // In another order, and only some of them.
      std::vector<std::size_t> order(candidates.size());
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random);
      for (const std::size_t count : {std::size_t{1}, std::size_t{4}}) {
        std::vector<Assignment> some;
        for (std::size_t i = 0; i < count; ++i) some.push_back(candidates[order[i]]);
        const std::vector<double> found = bench.fitness(kind, from, some, draw);
        for (std::size_t i = 0; i < count; ++i) equal = equal && found[i] == expected[order[i]];
      }
      return equal;
    };
    CHECK(same(first, base));
    CHECK(same(first, candidates.back()));
    CHECK(same(first, model.random_assignment(random)));
    CHECK(first.fitness(kind, base, {}, draw).empty());
    if (kind.kind != FitnessKind::kl) continue;
    int turn = 0;
    for (const LevelHome home : {LevelHome::device, LevelHome::host, LevelHome::file}) {
      for (const std::uint64_t limit :
           {std::uint64_t{0}, std::uint64_t{30000}, std::uint64_t{120000}, unlimited}) {
        Bench bench(world, model, precision, home, limit);
        INFO(name_of(home) << ", " << limit << " bytes");
        if (turn++ % world.size() == world.rank()) CHECK(same(bench, base));
      }
    }
  }
}

TEST_CASE("a fitness is the same, bit for bit, however much of the unpruned model's answers is kept",
          "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  const DType precision = model.checkpoint.dtype();
  std::mt19937 random(11);
  const Assignment base = model.random_assignment(random);
  const std::vector<Assignment> candidates = neighbours(model, base, 4, random);
  // Some tiles, of which the last is no whole one; the same tokens again; and others.
  const std::vector<TokenDraw> draws = {draw_of(model, 300), draw_of(model, 300), draw_of(model, 300, 1),
                                        draw_of(model, 40), draw_of(model, 300)};
  const auto row = static_cast<std::uint64_t>(model.config.vocab_size) * sizeof(float);
  for (const bool sharded : {false, true}) {
    if (sharded && (world.size() == 1 || world.size() > 2)) continue;
    Bench nothing(world, model, precision, LevelHome::file, unlimited, sharded);
    for (const std::uint64_t kept : {100 * row, 130 * row, 256 * row, unlimited}) {
      Bench bench(world, model, precision, LevelHome::file, unlimited, sharded, kept);
      for (const Fitness kind : {Fitness{FitnessKind::kl, 1}, Fitness{FitnessKind::sparse_kl, 20}}) {
        for (const TokenDraw& draw : draws) {
          INFO(kept / row << " rows");
          CHECK(bench.fitness(kind, base, candidates, draw) == nothing.fitness(kind, base, candidates, draw));
        }
      }
    }
  }
}

TEST_CASE("modules are built once where there is room to keep them", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("qwen2_tiny", folder / "x.h5"));
  const TokenDraw draw = draw_of(model, 20);
  const Assignment ones(model.space.modules.size(), 1);
  Assignment other = ones;
  other.back() = 2;
  for (const std::uint64_t limit : {unlimited, std::uint64_t{0}}) {
    Bench bench(world, model, DType::f32, LevelHome::file, limit);
    const auto built = [&](const Assignment& base, const std::vector<Assignment>& candidates) {
      const std::uint64_t before = bench.replica.modules_built();
      bench.fitness({FitnessKind::kl, 1}, base, candidates, draw);
      return bench.replica.modules_built() - before;
    };
    CHECK(built(ones, {Assignment(ones.size(), 0)}) == 0);  // level 0 is the model itself
    CHECK(built(ones, {ones}) == ones.size());
    CHECK(built(ones, {ones, other}) == (limit == 0 ? ones.size() + 1 : 1));
    CHECK(built(ones, {other, ones, other}) == (limit == 0 ? ones.size() + 2 : 0));
  }
}

TEST_CASE("an evaluation stops when it is told to", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama2_tiny", folder / "x.h5"));
  Bench bench(world, model, DType::f32);
  const TokenDraw draw = draw_of(model, 20);
  std::mt19937 random(1);
  const std::vector<Assignment> candidates = neighbours(model, model.random_assignment(random), 5, random);
  int questions = 0;
  const auto evaluate = [&](int stop_at) {
    questions = 0;
    return bench.replica
        .fitness({FitnessKind::kl, 1}, candidates[0], candidates, model.pool, draw, bench.answers,
                 [&] { return ++questions == stop_at; })
        .has_value();
  };
  CHECK(evaluate(0));
  const int all = questions;
  CHECK(all >= 5);
  for (int stop_at = 1; stop_at <= all; ++stop_at) {
    CHECK(!evaluate(stop_at));
    CHECK(questions == stop_at);
  }
}

TEST_CASE("all homes of levels give the database's words, and damage is found", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions options = test::small_database("llama3_tiny", folder / "x.h5");
  const ModelSearch model = test::make_model_search(world, options);
  const auto kept = [&](std::size_t module, std::int64_t level) {
    return static_cast<std::int64_t>(
        model.space.modules[module].kept[static_cast<std::size_t>(level)].size());
  };
  for (const LevelHome home : {LevelHome::device, LevelHome::host, LevelHome::file}) {
    const LevelStore store(world, model.database, model.space, home);
    bool same = store.dtype() == DType::bf16;
    std::vector<std::byte> storage;
    for (std::size_t i = 0; i < model.space.modules.size(); ++i) {
      for (std::int64_t level = 1; level <= model.space.modules[i].last(); ++level) {
        const auto expected = model.database.level_bytes(model.space.modules[i].id, level);
        const std::size_t row = static_cast<std::size_t>(model.config.hidden_size) * 2;
        for (const bool verified : {true, false}) {
          const auto found = store.read(i, level, 0, kept(i, level), verified, storage);
          same = same && std::equal(found.begin(), found.end(), expected.begin(), expected.end());
          if (kept(i, level) < 4) continue;
          const auto some = store.read(i, level, 1, 2, verified, storage);
          same = same && some.size() == 2 * row &&
                 std::equal(some.begin(), some.end(), expected.begin() + static_cast<std::ptrdiff_t>(row));
        }
      }
    }
    CHECK(same);
  }
  world.barrier();
  // A flipped byte in one level of one module.
  if (world.is_root()) test::flip_byte(options.output, "/modules/2/ffn/level_2/weight", 77);
  world.barrier();
  const DatabaseReader damaged(options.output);
  const LevelStore store(world, damaged, model.space, LevelHome::file);
  std::vector<std::byte> storage;
  CHECK_NOTHROW(store.read(5, 1, 0, kept(5, 1), true, storage));
  const std::string message =
      test::message_of<ChecksumError>([&] { store.read(5, 2, 0, kept(5, 2), true, storage); });
  CHECK(test::contains(message, "2"));
  int code = 0;
  try {
    const LevelStore host(world, damaged, model.space, LevelHome::host);
  } catch (const Error& error) {
    CHECK(error.agreed());
    code = static_cast<int>(error.code());
  }
  CHECK(code == 3);
}

TEST_CASE("the space of a database", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name :
       {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "biased_tiny", "phi3_tiny", "gemma3_tiny"}) {
    const ModelSearch model =
        test::make_model_search(world, test::small_database(name, folder / (std::string(name) + ".h5")));
    const HfConfig& config = model.config;
    std::int64_t tensors = 0;
    for (const std::string& tensor : model.checkpoint.names()) {
      std::int64_t elements = 1;
      for (const std::int64_t extent : model.checkpoint.entry(tensor).shape) elements *= extent;
      tensors += elements;
    }
    CHECK(model.space.fixed_parameters + model.space.dense_parameters() == tensors);
    CHECK(model.space.parameters(Assignment(model.space.modules.size(), 0)) == tensors);
    CHECK(model.space.smallest_parameters() == 0);
    bool right = true;
    for (std::size_t i = 0; i < model.space.modules.size(); ++i) {
      const ModuleChoices& module = model.space.modules[i];
      CHECK(module.last() == 4);
      for (std::int64_t level = 0; level <= module.last(); ++level) {
        const auto at = static_cast<std::size_t>(level);
        const std::vector<std::int64_t>& kept = module.kept[at];
        right = right && kept == model.database.kept(module.id, level);
        // Norms, matrices and biases of what is left.
        const std::int64_t norms = (config.features.post_norms ? 2 : 1) * config.hidden_size;
        const auto columns = static_cast<std::int64_t>(kept.size());
        std::int64_t expected = 0;
        if (columns > 0 && module.id.kind == ModuleKind::ffn) {
          expected = norms + 3 * columns * config.hidden_size;
          if (config.features.mlp_bias) expected += 2 * columns + config.hidden_size;
        } else if (columns > 0) {
          std::vector<bool> used(static_cast<std::size_t>(config.kv_heads), false);
          for (const std::int64_t column : kept)
            used[static_cast<std::size_t>(column / config.head_dim / (config.heads / config.kv_heads))] =
                true;
          const std::int64_t kv = config.head_dim * std::count(used.begin(), used.end(), true);
          expected = norms + (2 * columns + 2 * kv) * config.hidden_size;
          if (config.features.qkv_bias) expected += columns + 2 * kv;
          if (config.features.o_bias) expected += config.hidden_size;
          if (config.features.qk_norm) expected += 2 * config.head_dim;
        }
        right = right && module.parameters[at] == expected;
        Assignment assignment(model.space.modules.size(), 0);
        assignment[i] = static_cast<std::int16_t>(level);
        const LayerShape shape =
            model.space.shapes(config, assignment)[static_cast<std::size_t>(module.id.layer)];
        right = right && (module.id.kind == ModuleKind::ffn ? shape.columns == columns
                                                            : shape.heads() * config.head_dim == columns);
      }
    }
    CHECK(right);
  }
}

TEST_CASE("a database of another model, or an unfinished one, is no space", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions options = test::small_database("llama3_tiny", folder / "x.h5");
  const ModelSearch model = test::make_model_search(world, options);
  const auto refusal = [&](const DatabaseReader& database, const HfConfig& config, const std::string& print) {
    try {
      load_space(world, database, config, print);
      return std::string("no refusal");
    } catch (const Error& error) {
      CHECK(error.agreed());
      CHECK(error.code() == ExitCode::bad_input);
      return world.is_root() ? error.what() : std::string();
    }
  };
  const std::string print = test::fingerprint_of(model.checkpoint);
  const auto says = [&](const std::string& message, const std::string& part) {
    CHECK((world.is_root() ? test::contains(message, part) : message.empty()));
  };
  says(refusal(model.database, model.config, "0123456789abcdef"),
       "made from another model (fingerprint " + print);
  says(refusal(model.database, read_hf_config(test::data_file("models/qwen2_tiny")), print), "another model");
  if (world.is_root()) {
    std::filesystem::copy_file(options.output, folder / "unfinished.h5");
    Hdf5File file = Hdf5File::open_to_change(folder / "unfinished.h5");
    file.write_attribute("/", "complete", std::int64_t{0});
    file.close();
  }
  world.barrier();
  const DatabaseReader unfinished(folder / "unfinished.h5");
  says(refusal(unfinished, model.config, print), "unfinished");
  says(refusal(unfinished, model.config, print), "run the command that began it again");
}

TEST_CASE("a search over a model is the same for any number of ranks", "[replica]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "x.h5"));
  for (const std::int64_t islands : {4, 1}) {
    test::SyntheticSearch search;
    search.space = model.space;
    search.pool = model.pool;
    search.options.islands = islands;
    search.options.generations = 3;
    search.options.eval_every = 2;
    search.extra_items = 0;
    search.topology("ring", "1", 1);
    const std::int64_t dense = model.space.fixed_parameters + model.space.dense_parameters();
    for (const bool by_level : {true, false}) {
      search.budget =
          by_level ? Budget::of_level(model.space, 2) : Budget::of_parameters(model.space, dense / 2);
      Bench alone(Communicator::self(), model, DType::bf16, LevelHome::file);
      Bench together(world, model, DType::bf16, LevelHome::host, 100000);
      const auto run = [&](const Communicator& comm, Bench& bench) {
        test::Hooks hooks;
        hooks.evaluate = [&](const Assignment& base, std::span<const Assignment> candidates,
                             const StageTokens& tokens, const std::function<bool()>& stop) {
          return bench.replica.fitness({FitnessKind::kl, 1}, base, candidates, model.pool, tokens.compared,
                                       bench.answers, stop);
        };
        return test::run_search(comm, search, hooks);
      };
      const test::Outcome expected = run(Communicator::self(), alone), found = run(world, together);
      CHECK(expected.code == 0);
      CHECK(test::text_of(found.last) == test::text_of(expected.last));
      if (world.is_root()) CHECK(found.said == expected.said);
    }
  }
}
