#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <limits>
#include <random>

#include <galapagos/search/knapsack.hpp>

using namespace galapagos;

namespace {

using Choices = std::vector<std::int16_t>;
using Classes = std::vector<KnapsackClass>;

std::int64_t cost_of(const Classes& classes, const Choices& choices) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < classes.size(); ++i)
    sum += classes[i].costs.at(static_cast<std::size_t>(choices[i]));
  return sum;
}

double loss_of(const Classes& classes, const Choices& choices) {
  double sum = 0;
  for (std::size_t i = classes.size(); i-- > 0;)
    sum += classes[i].losses.at(static_cast<std::size_t>(choices[i]));
  return sum;
}

// All combinations, in the order of their choices.
std::optional<Choices> by_brute_force(const Classes& classes, std::int64_t limit, bool exactly) {
  std::optional<Choices> best;
  Choices choices(classes.size(), 0);
  for (;;) {
    const std::int64_t cost = cost_of(classes, choices);
    if (exactly ? cost == limit : cost <= limit) {
      const auto key = [&](const Choices& some) {
        return std::pair(loss_of(classes, some), cost_of(classes, some));
      };
      if (!best || key(choices) < key(*best)) best = choices;
    }
    std::size_t place = classes.size();
    while (place > 0 && ++choices[place - 1] == static_cast<std::int16_t>(classes[place - 1].costs.size()))
      choices[--place] = 0;
    if (place == 0) return best;
  }
}

// Costs that fall with the choices, or any, with or without a common unit; losses that grow, or any, with
// many ties or none, some of them negative.
Classes random_classes(std::mt19937& random, std::size_t most_classes) {
  Classes classes(1 + random() % most_classes);
  const bool sorted = random() % 2 == 0, coarse = random() % 2 == 0, ties = random() % 2 == 0;
  for (KnapsackClass& one : classes) {
    const std::size_t choices = 1 + random() % 5;
    for (std::size_t i = 0; i < choices; ++i) {
      one.costs.push_back(coarse ? static_cast<std::int64_t>(random() % 6) * 128 : random() % 1'000'003);
      one.losses.push_back(ties ? static_cast<double>(random() % 6) / 4
                                : 1e-3 * static_cast<double>(random()) / 1e6);
    }
    if (!sorted) continue;
    std::sort(one.costs.rbegin(), one.costs.rend());
    std::sort(one.losses.begin(), one.losses.end());
  }
  // Some of them gains.
  for (KnapsackClass& one : classes) {
    if (random() % 3 != 0) continue;
    for (double& loss : one.losses) loss -= 0.75;
  }
  return classes;
}

}  // namespace

TEST_CASE("the knapsack finds what trying all combinations finds", "[knapsack]") {
  int met = 0, unmet = 0;
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    const Classes classes = random_classes(random, 6);
    std::int64_t least = 0, most = 0;
    for (const KnapsackClass& one : classes) {
      least += *std::min_element(one.costs.begin(), one.costs.end());
      most += *std::max_element(one.costs.begin(), one.costs.end());
    }
    for (const std::int64_t limit : {least - 1, least, most, most + 1, least + (most - least) / 3,
                                     least + static_cast<std::int64_t>(random()) % (most - least + 1)}) {
      const auto expected = by_brute_force(classes, limit, false);
      INFO("seed " << seed << ", limit " << limit);
      REQUIRE(knapsack_at_most(classes, limit) == expected);
      ++(expected ? met : unmet);
    }
  }
  CHECK(met > 9000);
  CHECK(unmet == 2000);
}

TEST_CASE("the table over sums finds what trying all combinations finds", "[knapsack]") {
  int met = 0, unmet = 0;
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    std::mt19937 random(seed);
    Classes classes = random_classes(random, 6);
    for (KnapsackClass& one : classes) {  // mostly levels, sometimes other small numbers
      for (std::size_t i = 0; i < one.costs.size(); ++i)
        one.costs[i] = seed % 4 == 0 ? one.costs[i] % 5 : static_cast<std::int64_t>(i);
    }
    for (const std::int64_t limit : {-1, 0, 3, 7, 40}) {
      std::optional<Choices> expected = by_brute_force(classes, limit, true);
      INFO("seed " << seed << ", limit " << limit);
      REQUIRE(knapsack_exactly(classes, limit) == expected);
      ++(expected ? met : unmet);
    }
  }
  CHECK(met > 1000);
  CHECK(unmet > 1000);
}

TEST_CASE("equal losses go to the lower cost, then to the lower choices", "[knapsack]") {
  // Two alike: the second pays, for its choice comes later.
  const KnapsackClass one{{30, 20, 10}, {0, 1, 3}};
  CHECK(knapsack_at_most(Classes{one, one}, 50) == Choices{0, 1});
  CHECK(knapsack_at_most(Classes{one, one}, 40) == Choices{1, 1});
  CHECK(knapsack_at_most(Classes{one, one, one}, 89) == Choices{0, 0, 1});
  // What costs nothing in loss is not kept.
  const KnapsackClass flat{{30, 20, 10}, {0, 0, 0}};
  CHECK(knapsack_at_most(Classes{flat, one}, 60) == Choices{2, 0});
  CHECK(knapsack_exactly(Classes{{{0, 1, 2}, {0, 1, 3}}, {{0, 1, 2}, {0, 1, 3}}}, 1) == Choices{0, 1});
}

TEST_CASE(
    "the knapsack of convex losses in equal steps is what taking the cheapest step again and again gives",
    "[knapsack]") {
  // Losses x^2 w at x of 10 levels: the greedy algorithm is optimal where all steps save the same cost.
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    Classes classes(60);
    for (KnapsackClass& one : classes) {
      const double weight = 1 + static_cast<double>(random() % 1000);
      for (int level = 0; level <= 10; ++level) {
        one.costs.push_back(128 * (10 - level));
        one.losses.push_back(weight * level * level);
      }
    }
    const int steps = 1 + static_cast<int>(random() % 599);
    Choices greedy(classes.size(), 0);
    for (int step = 0; step < steps; ++step) {
      std::size_t best = classes.size();
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < classes.size(); ++i) {
        if (greedy[i] == 10) continue;
        const auto at = static_cast<std::size_t>(greedy[i]);
        const double rise = classes[i].losses[at + 1] - classes[i].losses[at];
        if (rise < least) {
          least = rise;
          best = i;
        }
      }
      ++greedy[best];
    }
    const auto found = knapsack_at_most(classes, cost_of(classes, greedy));
    REQUIRE(found);
    CHECK(loss_of(classes, *found) == loss_of(classes, greedy));
    CHECK(cost_of(classes, *found) <= cost_of(classes, greedy));
  }
}

TEST_CASE("160 modules of 11 levels: as a table over all costs says, and quickly at a 70B model's sizes",
          "[knapsack]") {
  // Attention and ffn parts of Llama-3-70B's shapes with biases as Qwen2 has: 128 is all that costs share.
  const auto classes_of = [](std::uint32_t seed, std::int64_t unit) {
    std::mt19937 random(seed);
    const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
    Classes classes;
    for (int i = 0; i < 160; ++i) {
      const double weight = 0.01 * std::exp(2 * uniform()), power = 1.2 + uniform();
      KnapsackClass& one = classes.emplace_back();
      for (std::int64_t level = 0; level <= 10; ++level) {
        const std::int64_t heads = 64 - 64 * level / 10;
        const std::int64_t kv_heads =
            level == 10 ? 0 : 8 - static_cast<std::int64_t>(uniform() * 0.8 * static_cast<double>(level));
        const std::int64_t columns = 28672 - level * 2867 / 32 * 32;
        const std::int64_t cost = i % 2 == 0
                                      ? (2 * 8192 + 1) * 128 * heads + 2 * (8192 + 1) * 128 * kv_heads + 8192
                                      : 3 * 8192 * (level == 10 ? 0 : columns) + 8192;
        one.costs.push_back(cost / unit);
        one.losses.push_back(level == 0 ? 0
                                        : weight * std::pow(0.1 * static_cast<double>(level), power) *
                                              (1 + 0.1 * uniform()));
      }
    }
    return classes;
  };
  const auto half = [](const Classes& classes) {
    std::int64_t sum = 0;
    for (const KnapsackClass& one : classes) sum += one.costs.front();
    return sum / 2;
  };
  for (std::uint32_t seed = 0; seed < 3; ++seed) {
    const Classes classes = classes_of(seed, 4'000'000);  // sums up to 17,000
    const std::int64_t limit = half(classes);
    std::vector<double> best(static_cast<std::size_t>(limit) + 1, 0.0), next;
    for (std::size_t i = classes.size(); i-- > 0;) {
      next.assign(best.size(), std::numeric_limits<double>::infinity());
      for (std::size_t room = 0; room < best.size(); ++room) {
        for (std::size_t choice = 0; choice < classes[i].costs.size(); ++choice) {
          const auto cost = static_cast<std::size_t>(classes[i].costs[choice]);
          if (cost <= room) next[room] = std::min(next[room], best[room - cost] + classes[i].losses[choice]);
        }
      }
      std::swap(best, next);
    }
    const auto found = knapsack_at_most(classes, limit);
    REQUIRE(found);
    CHECK(cost_of(classes, *found) <= limit);
    CHECK(loss_of(classes, *found) == best.back());
  }
  double slowest = 0;
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const Classes classes = classes_of(seed, 1);
    const auto begin = std::chrono::steady_clock::now();
    const auto found = knapsack_at_most(classes, half(classes));
    slowest =
        std::max(slowest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    REQUIRE(found);
    CHECK(cost_of(classes, *found) <= half(classes));
    // No better by giving one module room from another's.
    CHECK(cost_of(classes, *found) > half(classes) - 10'000'000);
  }
  std::cout << "160 modules, 11 levels: at most " << slowest << " s\n";
}
