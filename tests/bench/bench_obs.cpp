// The blocked structured OBS against the one-column-at-a-time form, in one process on the same problems: one
// module on all threads, then a module on each thread, as ranks of one thread prune them. A single small
// module may live in the last cache, which is all that the one-column form is limited by.
// Then the order weighed by the end loss against the plain one.
//   bench_obs [largest d_ff = 5632 [weighed: only the last of these]]
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <limits>
#include <omp.h>
#include <random>
#include <vector>

#include <galapagos/core/progress.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/obs.hpp>
#include <galapagos/pruning/obs.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t levels = 10;
constexpr int repeats = 3;
constexpr std::pair<std::int64_t, std::int64_t> shapes[] = {{512, 1376}, {1024, 2816}, {2048, 5632}};

ObsProblem random_problem(std::int64_t rows, std::int64_t columns) {
  ObsProblem problem;
  problem.name = "benchmark";
  problem.weight = OwnedTensor({columns, rows}, DType::f32, Device::cpu, "benchmark");
  problem.hessian = OwnedTensor({columns, columns}, DType::f32, Device::cpu, "benchmark");
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& value : problem.weight->float_span()) value = 0.02f * normal(random);
  const std::int64_t tokens = columns + columns / 4;
  OwnedTensor inputs({tokens, columns}, DType::f32, Device::cpu, "benchmark");
  for (std::int64_t t = 0; t < tokens; ++t) {
    float common = 0;
    for (std::int64_t j = 0; j < columns; ++j) {
      common = 0.5f * common + normal(random);
      inputs->floats()[t * columns + j] = common * (0.2f + static_cast<float>(j % 11));
    }
  }
  fill_zero(problem.hessian);
  ops::accumulate_gram(ops::Context(), inputs, 2.0f / static_cast<float>(tokens), problem.hessian);
  for (std::int64_t k = 1; k <= levels; ++k) problem.removed.push_back(columns * k / levels);
  return problem;
}

struct Outcome {
  double seconds = 0;
  std::vector<std::int32_t> order;
  std::vector<double> loss;
  double checksum = 0;
};

Outcome blocked(const ObsProblem& problem) {
  Outcome outcome;
  const Stopwatch watch;
  const ObsSummary summary = structured_obs(
      ops::Context(), problem, [&](std::int64_t, std::span<const std::int64_t>, const Tensor& weight) {
        if (!weight.empty()) outcome.checksum += weight.floats()[0];
      });
  outcome.seconds = watch.seconds();
  outcome.order = summary.order;
  outcome.loss = summary.loss;
  return outcome;
}

// What the reference does for every column: the column norms, then rank-1 updates of all of W and all of M,
// each a pass of its own over all cores. `fused` is kinder to it than it is to itself: one pass does all
// three.
Outcome remove_one_by_one(const ObsProblem& problem, bool fused) {
  const ops::Context context;
  const std::int64_t n = problem.hessian->rows(), rows = problem.weight->columns();
  Outcome outcome;
  const Stopwatch watch;
  std::vector<float> w(problem.weight->float_span().begin(),
                       problem.weight->float_span().end());  // [n, rows]
  OwnedTensor m({n, n}, DType::f32, Device::cpu, "benchmark");
  double mean = 0;
  for (std::int64_t j = 0; j < n; ++j) mean += problem.hessian->floats()[j * n + j] / static_cast<double>(n);
  std::copy_n(problem.hessian->floats(), n * n, m->floats());
  for (std::int64_t j = 0; j < n; ++j)
    m->floats()[j * n + j] += static_cast<float>(problem.relative_damping * mean);
  ops::invert_spd(context, m, false);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) m->floats()[j * n + i] = m->floats()[i * n + j];
  }
  std::vector<float> norm(static_cast<std::size_t>(n)), pivot_m(static_cast<std::size_t>(n));
  std::vector<float> pivot_w(static_cast<std::size_t>(rows));
  std::vector<char> gone(static_cast<std::size_t>(n), 0);
  const auto norms = [&](std::int64_t j) {
    const float* column = w.data() + j * rows;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < rows; ++i) sum += column[i] * column[i];
    norm[static_cast<std::size_t>(j)] = sum;
  };
  for (std::int64_t j = 0; j < n; ++j) norms(j);
  double loss = 0;
  for (std::int64_t step = 0; step < n; ++step) {
    std::int64_t best = -1;
    float least = std::numeric_limits<float>::infinity();
    for (std::int64_t j = 0; j < n; ++j) {
      if (gone[static_cast<std::size_t>(j)] != 0) continue;
      const float score = norm[static_cast<std::size_t>(j)] / m->floats()[j * n + j];
      if (score < least) {
        least = score;
        best = j;
      }
    }
    const float d = m->floats()[best * n + best];
    std::copy_n(m->floats() + best * n, n, pivot_m.begin());
    std::copy_n(w.data() + best * rows, rows, pivot_w.begin());
    const auto update_weight = [&](std::int64_t j) {
      const float factor = pivot_m[static_cast<std::size_t>(j)] / d;
      float* column = w.data() + j * rows;
#pragma omp simd
      for (std::int64_t i = 0; i < rows; ++i) column[i] -= factor * pivot_w[static_cast<std::size_t>(i)];
    };
    const auto update_inverse = [&](std::int64_t j) {
      const float factor = pivot_m[static_cast<std::size_t>(j)] / d;
      float* row = m->floats() + j * n;
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) row[i] -= factor * pivot_m[static_cast<std::size_t>(i)];
    };
    if (fused) {
#pragma omp parallel for schedule(static)
      for (std::int64_t j = 0; j < n; ++j) {
        update_weight(j);
        norms(j);
        update_inverse(j);
      }
    } else {
#pragma omp parallel
      {
#pragma omp for schedule(static)
        for (std::int64_t j = 0; j < n; ++j) update_weight(j);
#pragma omp for schedule(static)
        for (std::int64_t j = 0; j < n; ++j) update_inverse(j);
#pragma omp for schedule(static)
        for (std::int64_t j = 0; j < n; ++j) norms(j);
      }
    }
    std::fill_n(w.data() + best * rows, rows, 0.0f);
    gone[static_cast<std::size_t>(best)] = 1;
    outcome.order.push_back(static_cast<std::int32_t>(best));
    outcome.loss.push_back(loss += least / 2);
  }
  outcome.seconds = watch.seconds();
  return outcome;
}

/// A G of a few directions that matter and many that hardly do.
Sensitivity random_sensitivity(std::int64_t rows) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  const OwnedTensor gradients({rows / 4, rows}, DType::f32, Device::cpu, "benchmark");
  for (std::int64_t t = 0; t < rows / 4; ++t) {
    const float size = 1e-3f / static_cast<float>(1 + t);
    for (std::int64_t i = 0; i < rows; ++i) gradients->floats()[t * rows + i] = size * normal(random);
  }
  const OwnedTensor metric({rows, rows}, DType::f32, Device::cpu, "benchmark");
  fill_zero(metric);
  ops::accumulate_gram(ops::Context(), gradients, 4.0f / static_cast<float>(rows), metric);
  std::vector<float> lower;
  for (std::int64_t i = 0; i < rows; ++i)
    lower.insert(lower.end(), metric->floats() + i * rows, metric->floats() + i * rows + i + 1);
  return full_sensitivity(ops::Context(), lower, rows, "benchmark");
}

Outcome column_by_column(const ObsProblem& problem) {
  return remove_one_by_one(problem, false);
}

Outcome column_by_column_fused(const ObsProblem& problem) {
  return remove_one_by_one(problem, true);
}

// Share of the columns removed at each level that both forms chose alike, the least over the levels.
double agreement(const Outcome& a, const Outcome& b, const std::vector<std::int64_t>& removed) {
  double least = 1;
  for (const std::int64_t count : removed) {
    std::vector<std::int32_t> first(a.order.begin(), a.order.begin() + count),
        second(b.order.begin(), b.order.begin() + count);
    std::sort(first.begin(), first.end());
    std::sort(second.begin(), second.end());
    std::vector<std::int32_t> both;
    std::set_intersection(first.begin(), first.end(), second.begin(), second.end(), std::back_inserter(both));
    least = std::min(least, static_cast<double>(both.size()) / static_cast<double>(count));
  }
  return least;
}

using Form = Outcome (*)(const ObsProblem& problem);

// Runs `modules` of them at once, each on its share of the threads. The seconds are a module's: of all until
// the last one is done, divided by their number.
Outcome at_once(int modules, const ObsProblem& problem, Form form) {
  if (modules == 1) return form(problem);
  std::vector<Outcome> outcomes(static_cast<std::size_t>(modules));
  const Stopwatch watch;
#pragma omp parallel for num_threads(modules) schedule(static, 1)
  for (int i = 0; i < modules; ++i) outcomes[static_cast<std::size_t>(i)] = form(problem);
  outcomes.front().seconds = watch.seconds() / modules;
  return outcomes.front();
}

void measure(std::int64_t largest, int modules) {
  const int threads = omp_get_max_threads();
  if (modules == 1) {
    fmt::print("\none module at a time on {} threads\n", threads);
  } else {
    fmt::print("\n{} modules at once, each on one thread; seconds for one of them\n", modules);
  }
  fmt::print("{:>6} {:>6} {:>10} {:>14} {:>6} {:>13} {:>6} {:>13} {:>10}\n", "d_row", "d_ff", "blocked s",
             "one by one s", "ratio", "one, fused s", "ratio", "same removed", "loss ratio");
  const auto least = [](const Outcome& a, const Outcome& b) { return a.seconds < b.seconds; };
  for (const auto& [rows, columns] : shapes) {
    if (columns > largest) continue;
    const ObsProblem problem = random_problem(rows, columns);
    at_once(modules, problem, blocked);  // warm-up
    std::vector<Outcome> fast, slow, fused;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      fast.push_back(at_once(modules, problem, blocked));
      slow.push_back(at_once(modules, problem, column_by_column));
      fast.push_back(at_once(modules, problem, blocked));
      fused.push_back(at_once(modules, problem, column_by_column_fused));
    }
    const Outcome &a = *std::min_element(fast.begin(), fast.end(), least),
                  &b = *std::min_element(slow.begin(), slow.end(), least),
                  &c = *std::min_element(fused.begin(), fused.end(), least);
    fmt::print("{:>6} {:>6} {:>10.3f} {:>14.2f} {:>6.1f} {:>13.2f} {:>6.1f} {:>12.2f}% {:>10.6f}\n", rows,
               columns, a.seconds, b.seconds, b.seconds / a.seconds, c.seconds, c.seconds / a.seconds,
               100 * agreement(a, b, problem.removed), a.loss.back() / b.loss.back());
    std::fflush(stdout);
  }
}

/// The order weighed by the end loss against the plain one, in turn; the root of G is there already.
void measure_weighed(std::int64_t largest) {
  fmt::print("\nweighed by the end loss, one module on {} threads\n{:>6} {:>6} {:>10} {:>10} {:>6}\n",
             omp_get_max_threads(), "d_row", "d_ff", "plain s", "weighed s", "ratio");
  for (const auto& [rows, columns] : shapes) {
    if (columns > largest) continue;
    const ObsProblem plain = random_problem(rows, columns);
    ObsProblem weighed = random_problem(rows, columns);
    weighed.sensitivity = random_sensitivity(rows);
    blocked(plain);  // warm-up
    double plain_seconds = std::numeric_limits<double>::infinity(), weighed_seconds = plain_seconds;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      plain_seconds = std::min(plain_seconds, blocked(plain).seconds);
      weighed_seconds = std::min(weighed_seconds, blocked(weighed).seconds);
    }
    fmt::print("{:>6} {:>6} {:>10.3f} {:>10.3f} {:>6.2f}\n", rows, columns, plain_seconds, weighed_seconds,
               weighed_seconds / plain_seconds);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t largest = argc > 1 ? std::atoll(argv[1]) : 5632;
  const int threads = omp_get_max_threads();
  fmt::print("structured OBS of ffn modules, {} levels, fp32; least of {} runs each, in turn\n", levels,
             repeats);
  if (argc <= 2) measure(largest, 1);
  if (argc <= 2 && threads > 1) measure(largest, threads);
  measure_weighed(largest);
}
