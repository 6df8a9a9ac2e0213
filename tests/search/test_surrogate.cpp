#include "small_space.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <random>

#include <galapagos/search/mutation.hpp>
#include <galapagos/search/rank_correlation.hpp>
#include <galapagos/search/surrogate.hpp>

using namespace galapagos;

namespace {

// Twelve layers whose end losses are off by a factor each, and that lose more where neighbours are both
// pruned.
struct Truth {
  SearchSpace space;
  Budget budget;
  std::vector<double> factors, pairs;
  double noise = 0;
  std::mt19937 random;

  Truth(std::uint32_t seed, std::size_t layers, double pair_size, double noise_size)
      : space(test::even_space(layers, 6)),
        budget(Budget::of_level(space, 3)),
        noise(noise_size),
        random(seed) {
    std::normal_distribution<double> normal;
    for (ModuleChoices& module : space.modules) {
      const double weight = 0.02 * std::exp(0.7 * normal(random));
      for (int level = 0; level <= 6; ++level) module.end_loss.push_back(weight * std::pow(level, 1.6) / 6);
      factors.push_back(std::exp(0.3 * normal(random)));
      pairs.push_back(pair_size * std::abs(normal(random)));
    }
  }

  std::vector<Measurement> measured(std::size_t count) {
    std::normal_distribution<double> normal;
    std::vector<Measurement> archive;
    for (std::size_t i = 0; i < count; ++i) {
      RandomStream stream(random(), {});
      Measurement one{random_assignment(space, budget, stream), 0.1 + noise * normal(random)};
      std::vector<double> losses;
      for (std::size_t m = 0; m < one.assignment.size(); ++m) {
        losses.push_back(space.modules[m].end_loss[static_cast<std::size_t>(one.assignment[m])]);
        one.loss += factors[m] * losses[m];
        if (m > 0) one.loss += pairs[m] * losses[m - 1] * losses[m];
      }
      archive.push_back(one);
    }
    return archive;
  }
};

template <typename Predict>
double correlation(const std::vector<Measurement>& measured, Predict&& predict) {
  std::vector<double> predicted, losses;
  for (const Measurement& one : measured) {
    predicted.push_back(predict(one.assignment));
    losses.push_back(one.loss);
  }
  return rank_sums(predicted, losses).correlation();
}

}  // namespace

TEST_CASE("the surrogate ranks what it has not seen better than the plain sum", "[surrogate]") {
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    Truth truth(seed, 12, 20, 0.005);
    const std::vector<Measurement> archive = truth.measured(250), others = truth.measured(250);
    const Surrogate surrogate(truth.space, archive);
    const double plain =
        correlation(others, [&](const Assignment& a) { return truth.space.predicted_loss(a); });
    const double corrected = correlation(others, [&](const Assignment& a) { return surrogate.loss(a); });
    INFO("plain " << plain << ", corrected " << corrected << ", ridge " << surrogate.ridge());
    CHECK(corrected > plain);
    CHECK(1 - corrected < 0.6 * (1 - plain));
    CHECK(surrogate.left_out_correlation() == Approx(corrected).margin(0.06));
    CHECK(surrogate.left_out().size() == archive.size());
    // Even what a module alone is off by is not the whole: the pairs count.
    Truth without = truth;
    without.pairs.assign(without.pairs.size(), 0.0);
    CHECK(corrected > correlation(others, [&](const Assignment& a) {
            double sum = 0;
            for (std::size_t m = 0; m < a.size(); ++m)
              sum += truth.factors[m] * truth.space.modules[m].end_loss[static_cast<std::size_t>(a[m])];
            return sum;
          }));
  }
}

TEST_CASE("the surrogate is exact where the truth has its form and enough is measured", "[surrogate]") {
  Truth truth(3, 4, 5, 0);
  const std::vector<Measurement> archive = truth.measured(200), others = truth.measured(50);
  const Surrogate surrogate(truth.space, archive, 1e-10);
  for (const Measurement& one : others)
    CHECK(surrogate.loss(one.assignment) == Approx(one.loss).epsilon(1e-5));
  CHECK(surrogate.left_out_correlation() > 0.9999);
}

TEST_CASE("what is left out is what is learned without it", "[surrogate]") {
  Truth truth(4, 3, 5, 0.01);
  const std::vector<Measurement> archive = truth.measured(15);
  for (const double ridge : {1e-3, 0.1, 10.0}) {
    const Surrogate surrogate(truth.space, archive, ridge);
    for (std::size_t i = 0; i < archive.size(); ++i) {
      std::vector<Measurement> others = archive;
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
      const Surrogate without(truth.space, others, ridge);
      CHECK(surrogate.left_out()[i] == Approx(without.loss(archive[i].assignment)).epsilon(1e-9));
    }
  }
}

TEST_CASE("a surrogate of little or nothing is the plain sum but for a constant", "[surrogate]") {
  Truth truth(5, 3, 5, 0.01);
  const std::vector<Measurement> some = truth.measured(3);
  const Surrogate nothing(truth.space, {});
  CHECK(nothing.loss(some[0].assignment) == truth.space.predicted_loss(some[0].assignment));
  CHECK(std::isnan(nothing.left_out_correlation()));
  const Surrogate one(truth.space, std::vector<Measurement>{some[0]});
  CHECK(one.loss(some[0].assignment) == Approx(some[0].loss));
  CHECK(
      one.loss(some[1].assignment) - one.loss(some[2].assignment) ==
      Approx(truth.space.predicted_loss(some[1].assignment) - truth.space.predicted_loss(some[2].assignment))
          .margin(1e-12));
  std::vector<Measurement> bad = some;
  bad.push_back({some[0].assignment, std::numeric_limits<double>::quiet_NaN()});
  bad.push_back({some[0].assignment, std::numeric_limits<double>::infinity()});
  CHECK(Surrogate(truth.space, bad, 1.0).loss(some[1].assignment) ==
        Surrogate(truth.space, some, 1.0).loss(some[1].assignment));
}
