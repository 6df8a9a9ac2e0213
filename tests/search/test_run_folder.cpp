#include "assignment/small_space.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/search/run_folder.hpp>

using namespace galapagos;
using test::contains;

namespace {

const std::string identity = R"({"model":"abc","seed":1,"tokens":[1,2]})";

SearchSpace some_space() {
  return test::even_space(3, 4);
}

// Two islands, with one and three elites; the figures tell generations apart.
Population population_of(std::int64_t generation) {
  Population population;
  population.generation = generation;
  population.islands.resize(2);
  const auto level = static_cast<std::int16_t>(generation % 5);
  population.islands[0] = {
      {{{level, 1, 2, 3, 4, 0}, 0.1 * static_cast<double>(generation)}}, 10 * generation, 7};
  population.islands[1] = {{{{0, 0, 0, 0, 0, 0}, 1.0 / 3},
                            {{4, 4, 4, 4, 4, 4}, std::numeric_limits<double>::infinity()},
                            {{1, 2, 3, 4, 0, level}, 1e-300}},
                           std::int64_t{1} << 40,
                           generation};
  population.islands[1].ranks = {-0.5, 1.0 / 3, static_cast<double>(generation), 7 * generation};
  population.islands[1].surrogate_ranks = {0.25, 2.0 / 3, static_cast<double>(generation), 7 * generation};
  if (generation == 0) return population;
  if (generation % 2 == 1) population.islands[1].memory = {0.1, static_cast<double>(generation)};
  const double value = 1.0 / static_cast<double>(generation);
  population.islands[0].measured = {
      {0,
       100,
       {{{level, 0, 1, 2, 3, 4}, value, -value, Origin::mutation},
        {{4, 3, 2, 1, 0, level}, std::numeric_limits<double>::infinity(), 2, Origin::proposal}}},
      {1, 200, {{{level, 0, 1, 2, 3, 4}, 2 * value, 1e-300, Origin::parent}}}};
  population.islands[1].measured = {{0, 100, {}}, {1, 200, {{{0, 0, 0, 0, 0, 1}, 3, 4, Origin::immigrant}}}};
  const std::size_t features = surrogate_features(test::even_space(3, 4));
  population.moments = {std::vector<double>(features * (features + 1) / 2, value),
                        std::vector<double>(features, -value),
                        std::vector<double>(features, 2 * value),
                        0.5,
                        value,
                        std::vector<double>(surrogate_ridges(), 3 * value),
                        {1, 2, ~std::uint64_t{0}}};
  return population;
}

bool same(const Population& a, const Population& b) {
  bool equal = a.generation == b.generation && a.islands.size() == b.islands.size() && a.moments == b.moments;
  for (std::size_t i = 0; equal && i < a.islands.size(); ++i) {
    const IslandState &x = a.islands[i], &y = b.islands[i];
    equal = x.ranks == y.ranks && x.surrogate_ranks == y.surrogate_ranks && x.evaluations == y.evaluations &&
            x.tokens == y.tokens && x.elites.size() == y.elites.size() && x.measured == y.measured &&
            x.memory == y.memory;
    for (std::size_t e = 0; equal && e < x.elites.size(); ++e) {
      equal = x.elites[e].assignment == y.elites[e].assignment && x.elites[e].fitness == y.elites[e].fitness;
    }
  }
  return equal;
}

std::string refusal(const RunFolder& run, const SearchSpace& space, const std::string& wanted = identity) {
  return test::message_of<InputError>([&] { run.resume(space, wanted, 2); });
}

}  // namespace

TEST_CASE("a checkpoint is saved and resumed", "[run_folder]") {
  const test::TemporaryFolder folder;
  const SearchSpace space = some_space();
  const RunFolder run(folder / "deep" / "run");
  run.begin("[search]\nseed = 1\n");
  CHECK(read_file(run.path() / "config.ini") == "[search]\nseed = 1\n");
  CHECK(contains(refusal(run, space), "no search to go on with"));
  for (std::int64_t generation = 0; generation < 4; ++generation) {
    run.save({identity, population_of(generation), 1.5 + static_cast<double>(generation)});
    const SearchCheckpoint found = run.resume(space, identity, 2);
    CHECK(same(found.population, population_of(generation)));
    CHECK(found.population.reports.empty());
    CHECK(found.seconds == 1.5 + static_cast<double>(generation));
    CHECK(found.identity == identity);
    CHECK(std::filesystem::exists(run.path() / "checkpoint.previous.h5") == (generation > 0));
  }
  CHECK(!std::filesystem::exists(part_path(run.path() / "checkpoint.h5")));
  CHECK(contains(test::message_of<InputError>([&] { run.begin(""); }), "there is a search already"));
  CHECK(read_file(run.path() / "config.ini") == "[search]\nseed = 1\n");
  // Killed between the two renames of a save: only the previous one has its name.
  std::filesystem::remove(run.path() / "checkpoint.h5");
  CHECK(same(run.resume(space, identity, 2).population, population_of(2)));
}

TEST_CASE("where the last checkpoint is damaged, the one before is taken", "[run_folder]") {
  start_logging("off", 0);
  const test::TemporaryFolder folder;
  const SearchSpace space = some_space();
  const RunFolder run(folder / "run");
  run.begin("");
  run.save({identity, population_of(6), 1});
  run.save({identity, population_of(7), 2});
  const std::filesystem::path last = run.path() / "checkpoint.h5";
  const std::string whole = read_file(last);
  const auto resumes_from = [&](std::int64_t generation) {
    return same(run.resume(space, identity, 2).population, population_of(generation));
  };
  CHECK(resumes_from(7));
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, whole.size() / 2, whole.size() - 1}) {
    test::write_text(last, whole.substr(0, size));
    CHECK(resumes_from(6));
  }
  test::write_text(last, "this is no HDF5 file at all");
  CHECK(resumes_from(6));
  // Sound files that hold what cannot be.
  const auto damage = [&](const std::function<void(Hdf5File&)>& change) {
    test::write_text(last, whole);
    {
      Hdf5File file = Hdf5File::open_to_change(last);
      change(file);
      file.close();
    }
    CHECK(resumes_from(6));
  };
  damage([](Hdf5File& file) {
    std::vector<std::int32_t> levels(4 * 6, 1);
    levels[9] = 5;
    file.write_values("/levels", Hdf5Type::i32, levels);
  });
  damage([](Hdf5File& file) {
    std::vector<std::int32_t> levels(4 * 6, 1);
    levels[23] = -1;
    file.write_values("/levels", Hdf5Type::i32, levels);
  });
  for (const std::vector<std::int64_t>& elites :
       std::vector<std::vector<std::int64_t>>{{1, 4}, {0, 4}, {1, 2}, {-1, 5}, {1, std::int64_t{1} << 62}}) {
    damage([&](Hdf5File& file) { file.write_values("/elites", Hdf5Type::i64, elites); });
  }
  damage([](Hdf5File& file) { file.write_attribute("/", "format_version", std::int64_t{99}); });
  damage([](Hdf5File& file) {
    file.write_values("/measured_origins", Hdf5Type::u8, std::vector<std::uint8_t>{0, 2, 3, 11});
  });
  damage([](Hdf5File& file) {
    file.write_values("/measured_levels", Hdf5Type::i32, std::vector<std::int32_t>(4 * 6, 5));
  });
  const auto stages = [&](std::vector<std::int64_t> values) {
    damage([&](Hdf5File& file) { file.write_values("/measured_stages", Hdf5Type::i64, values); });
  };
  stages({0, 0, 100, 2, 0, 1, 200, 1, 1, 0, 100, 0, 2, 1, 200, 1});  // another island
  stages({0, 0, 100, 2, 0, 1, 200, 1, -1, 0, 100, 0, 1, 1, 200, 1});
  stages({0, 0, 100, 2, 0, 1, 200, 1, 1, 0, 100, 0, 1, 1, 200, 2});  // more than there are
  stages({0, 0, 100, -1, 0, 1, 200, 1, 1, 0, 100, 0, 1, 1, 200, 1});
  stages({0, 0, 100, 1, 0, 1, 200, 1, 1, 0, 100, 0, 1, 1, 200, 1});  // fewer

  // Where the one before is damaged as well, or not there, nothing is made up.
  test::write_text(last, "x");
  test::write_text(run.path() / "checkpoint.previous.h5", whole.substr(0, 100));
  CHECK(contains(refusal(run, space), "checkpoint.previous.h5"));
  std::filesystem::remove(run.path() / "checkpoint.previous.h5");
  CHECK(contains(refusal(run, space), "the checkpoint cannot be read"));
  test::write_text(last, whole);
  // One of other modules, or of another number of islands.
  CHECK(contains(refusal(run, test::even_space(4, 4)), "cannot be read"));
  CHECK(contains(test::message_of<InputError>([&] { run.resume(space, identity, 3); }), "damaged"));
}

TEST_CASE("a checkpoint of another search is refused, and what differs is named", "[run_folder]") {
  const test::TemporaryFolder folder;
  const SearchSpace space = some_space();
  const RunFolder run(folder / "run");
  run.begin("");
  run.save({identity, population_of(1), 1});
  const auto differs = [&](const std::string& wanted) { return refusal(run, space, wanted); };
  CHECK(contains(differs(R"({"model":"abc","seed":2,"tokens":[1,2]})"), "'seed' was 1 and is 2 now"));
  CHECK(contains(differs(R"({"model":"abd","seed":2,"tokens":[1,2]})"),
                 "'model' was \"abc\" and is \"abd\" now"));
  CHECK(contains(differs(R"({"model":"abc","seed":1,"tokens":[1,2,3]})"),
                 "'tokens' was [1,2] and is [1,2,3] now"));
  CHECK(
      contains(differs(R"({"model":"abc","seed":1,"tokens":[1,2],"islands":4})"), "'islands' was not there"));
  CHECK(contains(differs(R"({"model":"abc","seed":1})"), "another search"));
  CHECK(differs(identity).empty());
}

TEST_CASE("a resumed run drops what it will say again, and half lines", "[run_folder]") {
  const test::TemporaryFolder folder;
  const RunFolder run(folder / "run");
  run.begin("");
  run.rewind(3);  // nothing there yet
  const auto line = [](std::int64_t generation, const char* key) {
    Json json;
    json["generation"] = generation;
    json[key] = 1;
    return json;
  };
  Population population = population_of(1);
  for (std::int64_t generation = 1; generation <= 12; ++generation) {
    run.append_metrics({line(generation, "island"), line(generation, "island")});
    if (generation % 3 == 0) run.append_metrics({line(generation, "comparison")});
    population.generation = generation;
    run.append_migrations(population, std::vector<Migration>{{1, 0, 2}, {0, 1, 5}});
    run.append_candidates(some_space(), population);
  }
  const std::string candidates = read_file(run.path() / "candidates.jsonl");
  const std::string of_one =
      R"({"generation":1,"island":0,"stage":1,"tokens":100,"origin":"mutation","fitness":1.0,"levels":[1,0,1,2,3,4]})"
      "\n"
      R"({"generation":1,"island":0,"stage":1,"tokens":100,"origin":"proposal","fitness":null,"levels":[4,3,2,1,0,1]})"
      "\n"
      R"({"generation":1,"island":0,"stage":2,"tokens":200,"origin":"parent","fitness":2.0,"levels":[1,0,1,2,3,4]})"
      "\n"
      R"({"generation":1,"island":1,"stage":2,"tokens":200,"origin":"immigrant","fitness":3.0,"levels":[0,0,0,0,0,1]})"
      "\n";
  CHECK(candidates.starts_with(of_one));
  const std::string metrics = read_file(run.path() / "metrics.jsonl");
  const std::string migrations = read_file(run.path() / "migrations.csv");
  CHECK(migrations.starts_with(
      "generation,from,to,fitness\n1,1,0,0.3333333333333333\n1,1,0,inf\n1,0,1,0.1\n2,"));
  CHECK(contains(migrations, "\n12,0,1,0.1\n"));
  const std::string half_metrics = R"({"generation":3,"isl)", half_migrations = "3,0,1";
  test::write_text(run.path() / "metrics.jsonl", metrics + half_metrics);
  test::write_text(run.path() / "migrations.csv", migrations + half_migrations);
  test::write_text(run.path() / "candidates.jsonl", candidates + half_metrics);
  for (const std::int64_t generation : {20, 12, 11, 9, 3, 0}) {
    run.rewind(generation);
    std::string expected, expected_migrations = "generation,from,to,fitness\n";
    for (std::int64_t g = 1; g <= std::min<std::int64_t>(generation, 12); ++g) {
      expected += line(g, "island").dump() + "\n" + line(g, "island").dump() + "\n";
      // The comparison of the generation itself is made again.
      if (g % 3 == 0 && g < generation) expected += line(g, "comparison").dump() + "\n";
      const std::string begin = std::to_string(g) + ",";
      expected_migrations += begin + "1,0,0.3333333333333333\n" + begin + "1,0,inf\n" + begin + "0,1,0.1\n";
    }
    CHECK(read_file(run.path() / "metrics.jsonl") == expected);
    CHECK(read_file(run.path() / "migrations.csv") == expected_migrations);
    const std::string kept = read_file(run.path() / "candidates.jsonl");
    CHECK(candidates.starts_with(kept));
    CHECK(std::count(kept.begin(), kept.end(), '\n') == 4 * std::min<std::int64_t>(generation, 12));
  }
  run.append_metrics({line(1, "island")});
  CHECK(read_file(run.path() / "metrics.jsonl") == line(1, "island").dump() + "\n");
}

TEST_CASE("a folder that is taken, or cannot be made", "[run_folder]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "file", "x");
  CHECK(contains(test::message_of<InputError>([&] { RunFolder(folder / "file").begin(""); }),
                 "cannot make the folder"));
  CHECK(contains(test::message_of<InputError>([&] { RunFolder(folder / "file" / "run").begin(""); }),
                 "cannot make"));
  std::filesystem::create_directories(folder / "run");
  test::write_text(folder / "run" / "metrics.jsonl", "");
  CHECK(contains(test::message_of<InputError>([&] { RunFolder(folder / "run").begin(""); }), "another run"));
  std::filesystem::create_directories(folder / "other");
  test::write_text(folder / "other" / "notes.txt", "mine");
  CHECK_NOTHROW(RunFolder(folder / "other").begin(""));
  CHECK(read_file(folder / "other" / "notes.txt") == "mine");
}

TEST_CASE("the best assignment and the manifest are written whole", "[run_folder]") {
  const test::TemporaryFolder folder;
  const SearchSpace space = some_space();
  const RunFolder run(folder / "run");
  run.begin("");
  run.write_best(to_text(space, {0, 1, 2, 3, 4, 0}));
  CHECK(read_assignment(space, run.path() / "best.txt") == Assignment{0, 1, 2, 3, 4, 0});
  Json manifest;
  manifest["ranks"] = 4;
  run.write_manifest(manifest);
  CHECK(read_json(run.path() / "manifest.json") == manifest);
}
