#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/pruning/obs.hpp>

// Problems of structured OBS, how the program solves them, and the comparison with the fp64 oracle.
namespace galapagos::test {

struct RandomProblem {
  std::int64_t d_row, n;
  std::vector<double> weight;   // [d_row, n]
  std::vector<double> hessian;  // [n, n]
  std::vector<double> metric;   // [d_row, d_row]: G, symmetric; empty where nothing weighs
};

/// Correlated inputs, so that removals really change the others; some columns dead, one column of W zero.
RandomProblem random_problem(std::int64_t d_row, std::int64_t n, unsigned seed, int dead);

/// As the program takes it; the sensitivity is the caller's.
ObsProblem as_obs(const RandomProblem& random, std::int64_t unit, std::vector<std::int64_t> removed);

struct Level {
  std::vector<std::int64_t> kept;
  std::vector<float> weight;  // [kept, d_row]
};

struct Run {
  ObsSummary summary;
  std::vector<Level> levels;
};

Run run_obs(const ObsProblem& problem);

/// Order, losses and every level against the fp64 oracle that has removed the same structures, and against
/// the closed form; with a metric, the order of G + a thousandth of its mean diagonal, and end losses.
void check_against_oracle(const RandomProblem& random, const ObsProblem& problem, const Run& run);

}  // namespace galapagos::test
