#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <random>
#include <set>

#include <galapagos/search/mutation.hpp>
#include <galapagos/search/rank_correlation.hpp>
#include <galapagos/search/surrogate.hpp>

using namespace galapagos;

namespace {

using Row = std::vector<double>;

// Layers whose end losses are off by a factor and a rate each and by one factor in all, and that lose more
// where neighbours are both pruned. Every draw of tokens has an offset of its own.
struct Truth {
  SearchSpace space;
  Budget budget;
  double slope = 0.6;
  Row factors, rates, pairs;
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
      rates.push_back(0.001 * normal(random));
      pairs.push_back(pair_size * std::abs(normal(random)));
    }
  }

  double loss(const Assignment& assignment) const {
    double sum = 0, before = 0;
    for (std::size_t m = 0; m < assignment.size(); ++m) {
      const double loss = space.modules[m].end_loss[static_cast<std::size_t>(assignment[m])];
      sum += slope * factors[m] * loss + rates[m] * assignment[m] + pairs[m] * std::sqrt(before * loss);
      before = loss;
    }
    return sum;
  }

  // Random assignments in draws of `size`.
  std::vector<MeasuredStage> measured(std::size_t draws, std::size_t size) {
    std::normal_distribution<double> normal;
    std::vector<MeasuredStage> stages;
    for (std::size_t d = 0; d < draws; ++d) {
      const double offset = 0.3 * normal(random);
      MeasuredStage& stage = stages.emplace_back(MeasuredStage{0, d % 2 == 0 ? 512 : 2048, {}});
      for (std::size_t i = 0; i < size; ++i) {
        RandomStream stream(random(), {});
        Measurement one{random_assignment(budget, stream), 0, 0, Origin::mutation};
        one.fitness = loss(one.assignment) + offset + noise * normal(random);
        stage.candidates.push_back(one);
      }
    }
    return stages;
  }
};

double weight_of(const MeasuredStage& stage) {
  return static_cast<double>(stage.tokens) / 1024;
}

double scale_of(const SearchSpace& space) {
  std::multiset<double> all;
  for (const ModuleChoices& module : space.modules) {
    for (const double loss : module.end_loss) {
      if (loss > 0) all.insert(loss);
    }
  }
  return *std::next(all.begin(), static_cast<std::ptrdiff_t>(all.size() / 2));
}

// The plain sum, each module's end loss and share of levels and the geometric means of neighbours' end
// losses, in units of the scale.
Row features_of(const SearchSpace& space, const Assignment& assignment) {
  const double scale = scale_of(space);
  Row features = {0};
  for (std::size_t m = 0; m < assignment.size(); ++m) {
    features.push_back(space.modules[m].end_loss[static_cast<std::size_t>(assignment[m])] / scale);
    features[0] += features.back();
  }
  for (const std::int16_t level : assignment) features.push_back(2.0 * level / 6);
  for (std::size_t m = 1; m < assignment.size(); ++m)
    features.push_back(0.3 * std::sqrt(features[m] * features[m + 1]));
  return features;
}

// Gauss's elimination with pivots, in extended precision.
Row solve(std::vector<std::vector<long double>> matrix, std::vector<long double> right) {
  const std::size_t size = right.size();
  for (std::size_t k = 0; k < size; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k + 1; i < size; ++i) {
      if (std::abs(matrix[i][k]) > std::abs(matrix[pivot][k])) pivot = i;
    }
    std::swap(matrix[k], matrix[pivot]);
    std::swap(right[k], right[pivot]);
    for (std::size_t i = 0; i < size; ++i) {
      if (i == k) continue;
      const long double by = matrix[i][k] / matrix[k][k];
      for (std::size_t j = k; j < size; ++j) matrix[i][j] -= by * matrix[k][j];
      right[i] -= by * right[k];
    }
  }
  Row solution;
  for (std::size_t k = 0; k < size; ++k) solution.push_back(static_cast<double>(right[k] / matrix[k][k]));
  return solution;
}

// The same regression by normal equations in which every draw has an unpenalised column of its own. The
// weights, then the draws' offsets.
Row naive_fit(const SearchSpace& space, const std::vector<MeasuredStage>& stages, double ridge) {
  const std::size_t features = surrogate_features(space), size = features + stages.size();
  std::vector<std::vector<long double>> matrix(size, std::vector<long double>(size, 0));
  std::vector<long double> right(size, 0);
  for (std::size_t i = 0; i < features; ++i) matrix[i][i] = ridge * (i == 0 ? 1e-3 : 1);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    for (const Measurement& one : stages[s].candidates) {
      Row row = features_of(space, one.assignment);
      const double target = one.fitness / scale_of(space) - row[0];
      row.resize(size, 0.0);
      row[features + s] = 1;
      for (std::size_t i = 0; i < size; ++i) {
        for (std::size_t j = 0; j < size; ++j)
          matrix[i][j] += weight_of(stages[s]) * static_cast<long double>(row[i]) * row[j];
        right[i] += weight_of(stages[s]) * static_cast<long double>(row[i]) * target;
      }
    }
  }
  return solve(matrix, right);
}

template <typename Predict>
double correlation(const std::vector<MeasuredStage>& stages, Predict&& predict) {
  RankSums sums;
  for (const MeasuredStage& stage : stages) {
    Row predicted, losses;
    for (const Measurement& one : stage.candidates) {
      predicted.push_back(predict(one.assignment));
      losses.push_back(one.fitness);
    }
    sums += rank_sums(predicted, losses);
  }
  return sums.correlation();
}

}  // namespace

TEST_CASE("experts of a layer share their corrections, which are those of their sum", "[surrogate]") {
  std::mt19937 random(6);
  const SearchSpace space = test::with_end_losses(test::mixture_space(3, 4, 5), random);
  CHECK(surrogate_features(space) == 1 + 3 * 6 - 1);
  Surrogate surrogate{end_loss_scale(space), 0.5, {}, 1};
  std::normal_distribution<double> normal(0, 0.05);
  while (surrogate.weights.size() < surrogate_features(space)) surrogate.weights.push_back(normal(random));
  const auto drawn = [&] {
    Assignment assignment;
    for (const ModuleChoices& module : space.modules)
      assignment.push_back(static_cast<std::int16_t>(random() % static_cast<unsigned>(module.last() + 1)));
    return assignment;
  };
  int checked = 0;
  for (int round = 0; round < 20; ++round) {
    const Assignment around = drawn();
    const EndLosses corrected = corrected_end_losses(space, surrogate, around);
    const double before = expected_loss(space, surrogate, around);
    for (std::size_t i = 0; i < around.size(); ++i) {
      Assignment moved = around;
      for (std::int16_t level = 0; level <= space.modules[i].last(); ++level) {
        moved[i] = level;
        const double least = 0.1 * space.modules[i].end_loss[static_cast<std::size_t>(level)];
        const double found = corrected[i][static_cast<std::size_t>(level)],
                     there = corrected[i][static_cast<std::size_t>(around[i])];
        if (found <= least || there <= 0.1 * space.modules[i].end_loss[static_cast<std::size_t>(around[i])])
          continue;  // held up
        ++checked;
        CHECK(std::abs(expected_loss(space, surrogate, moved) - before - (found - there)) < 1e-12);
      }
    }
  }
  CHECK(checked > 1000);  // of 20 rounds of 15 modules at 6 levels
}

TEST_CASE("experts of a layer may have different numbers of levels", "[surrogate]") {
  std::mt19937 random(9);
  SearchSpace space = test::with_end_losses(test::mixture_space(2, 3, 6), random);
  ModuleChoices& narrow = space.modules[2];  // the second expert of the first layer
  narrow.parameters.resize(2);
  narrow.end_loss.resize(2);
  narrow.gone = {false, true};
  CHECK(std::isfinite(end_loss_scale(space)));
  CHECK(end_loss_scale(space) > 0);
  CHECK(end_loss_scale(space) < 10);  // of losses of fractions of a nat
}

TEST_CASE("the surrogate is the ridge regression with an offset for every draw", "[surrogate]") {
  Truth truth(1, 3, 0.3, 0.01);
  const std::vector<MeasuredStage> first = truth.measured(4, 5), second = truth.measured(3, 7);
  SurrogateMoments moments;
  learn(truth.space, first, moments);
  // What each ridge would have said of the second batch.
  const double scale = scale_of(truth.space);
  Row errors;
  for (double ridge = 1e-3; errors.size() < surrogate_ridges(); ridge *= 10) {
    const Row weights = naive_fit(truth.space, first, ridge);
    double error = 0;
    for (const MeasuredStage& stage : second) {
      Row residuals;
      double mean = 0;
      for (const Measurement& one : stage.candidates) {
        const Row row = features_of(truth.space, one.assignment);
        residuals.push_back(one.fitness / scale - row[0]);
        for (std::size_t i = 0; i < row.size(); ++i) residuals.back() -= weights[i] * row[i];
        mean += residuals.back() / static_cast<double>(stage.candidates.size());
      }
      for (const double residual : residuals)
        error += weight_of(stage) * (residual - mean) * (residual - mean);
    }
    errors.push_back(error);
  }
  learn(truth.space, second, moments);
  std::size_t best = 0;
  for (std::size_t k = 0; k < errors.size(); ++k) {
    CHECK(moments.errors[k] == Approx(errors[k]).epsilon(1e-6));
    if (errors[k] <= errors[best]) best = k;
  }
  const Surrogate surrogate = fit(truth.space, moments);
  CHECK(surrogate.ridge == Approx(std::pow(10, static_cast<double>(best) - 3)));
  CHECK(surrogate.scale == Approx(scale));
  std::vector<MeasuredStage> all = first;
  all.insert(all.end(), second.begin(), second.end());
  const Row weights = naive_fit(truth.space, all, surrogate.ridge);
  for (std::size_t i = 0; i < surrogate.weights.size(); ++i)
    CHECK(surrogate.weights[i] == Approx(weights[i]).margin(1e-7));
  // The constant leaves no mean error over all measurements.
  double rest = 0;
  for (const MeasuredStage& stage : all) {
    for (const Measurement& one : stage.candidates) {
      const Row row = features_of(truth.space, one.assignment);
      double expected = row[0] * scale + surrogate.constant;
      for (std::size_t i = 0; i < row.size(); ++i) expected += scale * weights[i] * row[i];
      CHECK(expected_loss(truth.space, surrogate, one.assignment) == Approx(expected).margin(1e-7));
      rest += weight_of(stage) * (one.fitness - expected);
    }
  }
  CHECK(rest == Approx(0).margin(1e-7));
}

TEST_CASE("planted corrections of modules and pairs are found", "[surrogate]") {
  Truth truth(3, 4, 0.3, 0);
  SurrogateMoments moments;
  for (int batch = 0; batch < 30; ++batch) learn(truth.space, truth.measured(4, 8), moments);
  const Surrogate surrogate = fit(truth.space, moments);
  CHECK(surrogate.ridge == Approx(1e-3));  // there is no noise
  const std::size_t modules = truth.space.modules.size();
  // All levels of a kind add up to the same, so that rates are found up to a constant for each kind; slope
  // and factors are told apart by the ridge alone.
  const auto rate = [&](std::size_t m) {
    return surrogate.scale * surrogate.weights[1 + modules + m] * 2 / 6;
  };
  for (std::size_t m = 0; m < modules; ++m) {
    CHECK(1 + surrogate.weights[0] + surrogate.weights[1 + m] ==
          Approx(truth.slope * truth.factors[m]).margin(0.02));
    CHECK(rate(m) - rate(m % 2) == Approx(truth.rates[m] - truth.rates[m % 2]).margin(1e-4));
    if (m > 0) CHECK(0.3 * surrogate.weights[2 * modules + m] == Approx(truth.pairs[m]).margin(0.02));
  }
}

TEST_CASE("the surrogate ranks what it has not seen better than the plain sum", "[surrogate]") {
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    Truth truth(seed, 12, 0.3, 0.002);
    SurrogateMoments moments;
    for (int batch = 0; batch < 6; ++batch) learn(truth.space, truth.measured(4, 10), moments);
    const Surrogate surrogate = fit(truth.space, moments);
    const std::vector<MeasuredStage> others = truth.measured(20, 10);
    const double plain =
        correlation(others, [&](const Assignment& a) { return truth.space.predicted_loss(a); });
    const double corrected =
        correlation(others, [&](const Assignment& a) { return expected_loss(truth.space, surrogate, a); });
    INFO("plain " << plain << ", corrected " << corrected << ", ridge " << surrogate.ridge);
    CHECK(1 - corrected < 0.6 * (1 - plain));
  }
}

TEST_CASE("where measurements are noise alone, the surrogate trusts the plain sum", "[surrogate]") {
  Truth truth(6, 6, 0, 100);
  truth.slope = 0;
  SurrogateMoments moments;
  for (int batch = 0; batch < 6; ++batch) learn(truth.space, truth.measured(4, 10), moments);
  CHECK(fit(truth.space, moments).ridge == Approx(1e4));
}

TEST_CASE("losses corrected around an assignment say what a change of one module adds", "[surrogate]") {
  Truth truth(7, 4, 0.3, 0.001);
  SurrogateMoments moments;
  for (int batch = 0; batch < 10; ++batch) learn(truth.space, truth.measured(4, 8), moments);
  Surrogate surrogate = fit(truth.space, moments);
  const Assignment around = truth.measured(1, 1)[0].candidates[0].assignment;
  const EndLosses losses = corrected_end_losses(truth.space, surrogate, around);
  const double here = expected_loss(truth.space, surrogate, around);
  int compared = 0;
  for (std::size_t m = 0; m < around.size(); ++m) {
    for (std::int16_t level = 0; level <= 6; ++level) {
      if (std::min(losses[m][static_cast<std::size_t>(level)],
                   losses[m][static_cast<std::size_t>(around[m])]) <
          0.11 * truth.space.modules[m].end_loss[static_cast<std::size_t>(level)])
        continue;
      ++compared;
      Assignment other = around;
      other[m] = level;
      CHECK(
          expected_loss(truth.space, surrogate, other) - here ==
          Approx(losses[m][static_cast<std::size_t>(level)] - losses[m][static_cast<std::size_t>(around[m])])
              .margin(1e-12));
    }
  }
  CHECK(compared > 40);
  // A tenth of what the end losses say is left of them.
  surrogate.weights[1] -= 100;
  const EndLosses bounded = corrected_end_losses(truth.space, surrogate, around);
  for (std::size_t level = 0; level <= 6; ++level) {
    CHECK(bounded[0][level] == Approx(0.1 * truth.space.modules[0].end_loss[level]));
    CHECK(bounded[3][level] == losses[3][level]);
  }
}

TEST_CASE("end losses that are changes, of either sign, are corrected like those from nothing",
          "[surrogate]") {
  Truth truth(9, 4, 0.3, 0.001);
  SearchSpace changes = truth.space;
  for (std::size_t m = 0; m < changes.modules.size(); ++m) {
    for (double& loss : changes.modules[m].end_loss) loss -= 0.25 * static_cast<double>(m % 3);
  }
  SurrogateMoments moments, of_changes;
  for (int batch = 0; batch < 4; ++batch) {
    const std::vector<MeasuredStage> stages = truth.measured(4, 8);
    learn(truth.space, stages, moments);
    learn(changes, stages, of_changes);
  }
  const Surrogate surrogate = fit(truth.space, moments), from_changes = fit(changes, of_changes);
  REQUIRE(!from_changes.weights.empty());
  const Assignment one = truth.measured(1, 1)[0].candidates[0].assignment;
  CHECK(expected_loss(changes, from_changes, one) == Approx(expected_loss(truth.space, surrogate, one)));
  const EndLosses losses = corrected_end_losses(truth.space, surrogate, one),
                  others = corrected_end_losses(changes, from_changes, one);
  for (std::size_t m = 0; m < losses.size(); ++m) {
    for (std::size_t level = 0; level < losses[m].size(); ++level)
      CHECK(others[m][level] == Approx(losses[m][level]).margin(1e-9));
  }
}

TEST_CASE("a surrogate of little or nothing is the plain sum", "[surrogate]") {
  Truth truth(5, 3, 0.3, 0.01);
  std::vector<MeasuredStage> some = truth.measured(2, 4);
  const Assignment one = some[0].candidates[0].assignment, two = some[0].candidates[1].assignment;
  SurrogateMoments nothing;
  CHECK(expected_loss(truth.space, fit(truth.space, nothing), one) == truth.space.predicted_loss(one));
  CHECK(corrected_end_losses(truth.space, {}, one)[2] == truth.space.modules[2].end_loss);
  learn(truth.space, {}, nothing);
  CHECK(fit(truth.space, nothing).weights.empty());
  // One candidate alone only says how high the draw is.
  const MeasuredStage alone{0, 1024, {some[0].candidates[0]}};
  SurrogateMoments single;
  learn(truth.space, std::span(&alone, 1), single);
  const Surrogate offset = fit(truth.space, single);
  CHECK(expected_loss(truth.space, offset, one) == Approx(alone.candidates[0].fitness));
  CHECK(expected_loss(truth.space, offset, one) - expected_loss(truth.space, offset, two) ==
        Approx(truth.space.predicted_loss(one) - truth.space.predicted_loss(two)).margin(1e-12));
  // What is no number is passed over, but known.
  SurrogateMoments sound, with_bad;
  learn(truth.space, some, sound);
  const Assignment bad(one.size(), 6);
  some[1].candidates.push_back({bad, std::numeric_limits<double>::quiet_NaN(), 0, Origin::proposal});
  some.push_back({1, 1024, {{bad, std::numeric_limits<double>::infinity(), 0, Origin::proposal}}});
  learn(truth.space, some, with_bad);
  CHECK(!is_measured(sound, bad));
  CHECK(is_measured(with_bad, bad));
  CHECK(is_measured(with_bad, two));
  CHECK(with_bad.assignments.size() == sound.assignments.size() + 1);
  with_bad.assignments = sound.assignments;
  CHECK(with_bad == sound);
  some[0].candidates[0].fitness = 1e308;
  learn(truth.space, some, with_bad);
  CHECK(fit(truth.space, with_bad).weights.empty());
}
