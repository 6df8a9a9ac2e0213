#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <galapagos/search/rank_correlation.hpp>

using namespace galapagos;

namespace {

using Series = std::vector<double>;

double correlation(const Series& first, const Series& second) {
  return rank_sums(first, second).correlation();
}

// Pearson's of the ranks, each of which is counted out.
double naive(const Series& first, const Series& second) {
  const auto rank = [](const Series& all, double value) {
    double below = 0, equal = 0;
    for (const double other : all) {
      below += other < value ? 1 : 0;
      equal += other == value ? 1 : 0;
    }
    return below + (equal + 1) / 2;
  };
  double x = 0, y = 0, xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    const double a = rank(first, first[i]), b = rank(second, second[i]);
    x += a, y += b, xx += a * a, yy += b * b, xy += a * b;
  }
  const auto n = static_cast<double>(first.size());
  return (n * xy - x * y) / std::sqrt((n * xx - x * x) * (n * yy - y * y));
}

}  // namespace

TEST_CASE("the rank correlation follows its formulas", "[rank_correlation]") {
  CHECK(correlation({1, 2, 3, 10}, {-1, 0, 5, 6}) == 1);
  CHECK(correlation({1, 2, 3, 10}, {6, 5, 0, -1}) == -1);
  // 1 - 6 sum d^2 / (n (n^2 - 1)) without ties: d = 1, 1, 0, 1, 1.
  CHECK(correlation({1, 2, 3, 4, 5}, {2, 1, 3, 6, 4}) == Approx(1 - 6.0 * (1 + 1 + 0 + 1 + 1) / (5 * 24)));
  CHECK(correlation({1, 1, 2}, {1, 2, 3}) == Approx(std::sqrt(0.75)));
  CHECK(std::isnan(correlation({1, 1, 1}, {1, 2, 3})));
  CHECK(std::isnan(correlation({1}, {2})));
  CHECK(std::isnan(correlation({}, {})));
  const double none = std::numeric_limits<double>::quiet_NaN();
  CHECK(correlation({1, 2, 3}, {1, 2, none}) == 1);
  CHECK(correlation({1, 2, 3}, {none, none, 1}) == correlation({1, 2, 3}, {2, 2, 1}));
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    Series first(2 + random() % 40), second(first.size());
    const std::uint32_t values = 2 + random() % 30;
    for (double& value : first) value = random() % values;
    for (std::size_t i = 0; i < second.size(); ++i) second[i] = first[i] + random() % values;
    const double expected = naive(first, second);
    if (std::isfinite(expected)) CHECK(correlation(first, second) == Approx(expected).margin(1e-12));
  }
}

TEST_CASE("rank sums of several series add up", "[rank_correlation]") {
  RankSums sums = rank_sums(Series{1, 2, 3}, Series{1, 2, 3});
  sums += rank_sums(Series{100, 200, 300}, Series{-7, -8, -9});
  CHECK(sums.count == 6);
  CHECK(sums.correlation() == 0);  // one way in the first, the other way in the second
  sums += rank_sums(Series{1, 2, 3, 4, 5, 6, 7, 8, 9}, Series{1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(sums.correlation() == Approx(60.0 / 64));
}
