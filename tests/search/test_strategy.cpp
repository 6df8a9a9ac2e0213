#include "support/catch.hpp"
#include "support/files.hpp"
#include "synthetic_search.hpp"

#include <cmath>

#include <galapagos/search/mutation.hpp>
#include <galapagos/search/run_folder.hpp>

using namespace galapagos;
using test::run_search;
using test::SyntheticSearch;
using test::text_of;

namespace {

// A strategy that no option names: the parent may get worse, by less the cooler it is, and how warm an island
// still is, is known from its memory alone.
class Annealing final : public Strategy {
 public:
  explicit Annealing(const SyntheticSearch& search) : search_(search) {}

  Assignment start(std::int64_t) const override { return search_.budget.uniform(); }
  std::vector<Offspring> propose(const IslandGeneration& turn, const IslandState& state,
                                 const Experience&) const override {
    const Assignment& parent = state.elites.front().assignment;
    RandomStream random(search_.options.seed, name_of(turn, 1));
    std::vector<Offspring> offspring;
    for (int i = 0; i < 100 && offspring.empty(); ++i) {
      Assignment child = mutate(search_.budget, parent, random);
      if (child != parent) offspring.push_back({std::move(child)});
    }
    return offspring;
  }
  void accept(const IslandGeneration& turn, std::vector<Candidate> measured,
              IslandState& state) const override {
    const std::vector<double> before = state.memory.empty() ? std::vector<double>{1, 0} : state.memory;
    RandomStream random(search_.options.seed, name_of(turn, 2));
    const double drawn = static_cast<double>(random.next()) * 0x1p-32;
    const Candidate &best = measured.front(), &other = measured.back();
    const bool worse = std::exp((best.fitness - other.fitness) / before[0]) > drawn;
    state.memory = {0.8 * before[0], before[1] + (worse ? 1 : 0)};
    state.elites = {worse ? other : best};
  }
  std::size_t memory() const override { return 2; }

 private:
  static RandomStream::Name name_of(const IslandGeneration& turn, std::uint32_t use) {
    return {static_cast<std::uint32_t>(turn.island), static_cast<std::uint32_t>(turn.generation), use, 99};
  }
  const SyntheticSearch& search_;
};

SyntheticSearch annealing() {
  SyntheticSearch search;
  search.topology("none", "0", 1);
  search.options.generations = 8;
  // Parent and child both reach accept().
  search.options.stages = {{2, 64, 0}};
  search.own_strategy = [](const SyntheticSearch& of) { return std::make_unique<Annealing>(of); };
  return search;
}

}  // namespace

TEST_CASE("a strategy with a memory of its own is the same on any number of ranks and when resumed",
          "[strategy]") {
  const SyntheticSearch search = annealing();
  const test::Outcome alone = run_search(Communicator::self(), search);
  CHECK(alone.code == 0);
  const test::Outcome shared = run_search(Communicator::world(), search);
  CHECK(shared.code == 0);
  CHECK(text_of(shared.last) == text_of(alone.last));
  double worse = 0;
  for (const IslandState& island : alone.last.islands) {
    CHECK(island.memory.size() == 2);
    CHECK(island.memory.at(0) == Approx(std::pow(0.8, 8)));
    worse += island.memory.at(1);
  }
  CHECK(worse > 0);
  CHECK(worse < 8.0 * static_cast<double>(alone.last.islands.size()));

  // From any generation's checkpoint it goes on as if it had never ended.
  for (const Population& population : alone.populations) {
    if (population.generation == search.options.generations) continue;  // its reports are not saved
    const test::TemporaryFolder folder;
    const RunFolder run(folder.path() / "run");
    run.begin("");
    run.save({"{}", population, 0});
    const Population read = run.resume(search.space, "{}", search.options.islands).population;
    CHECK(text_of(run_search(Communicator::self(), search, read).last) == text_of(alone.last));
  }
}
