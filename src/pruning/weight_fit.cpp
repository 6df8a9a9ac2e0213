#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <optional>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/weight_fit.hpp>

namespace galapagos {
namespace {

constexpr std::array ridges = {0.03, 0.1, 0.3, 1.0, 3.0, 10.0};
constexpr int most_attempts = 5;
constexpr double infinite = std::numeric_limits<double>::infinity();

OwnedTensor matrix(const ops::Context& context, std::int64_t rows, std::int64_t columns,
                   const std::string& purpose) {
  return {{rows, columns}, DType::f32, context.device(), purpose};
}

/// One attempt; nothing where there is no solution.
std::optional<OwnedTensor> solution(const ops::Context& context, const FitSums& sums, double ridge) {
  const OwnedTensor gram = copy_of(sums.gram, context.device(), "the Cholesky factor of a module's inputs");
  OwnedTensor change = copy_of(sums.residual, context.device(), "the change of a weight");
  if (!ops::solve_spd(context, gram, ridge, change)) return std::nullopt;
  return change;
}

[[noreturn]] void unsolvable(double ridge, const std::string& name) {
  throw NumericalError(
      fmt::format("the inputs' second moments are not positive definite, even with a ridge of {:g}", ridge),
      name, "use more or other calibration data, or a larger ridge");
}

OwnedTensor rows_of(const ops::Context& context, const Tensor& table, std::span<const std::int64_t> rows) {
  OwnedTensor some =
      matrix(context, static_cast<std::int64_t>(rows.size()), table.columns(), "rows of a weight");
  ops::gather_rows(context, table, rows, some);
  return some;
}

}  // namespace

Correction fit(const ops::Context& context, const FitSums& sums, double ridge, const std::string& name) {
  if (std::isinf(ridge)) {
    Correction none{matrix(context, sums.residual->rows(), sums.residual->columns(), "no change"), ridge};
    fill_zero(none.change);
    return none;
  }
  for (int attempt = 1;; ++attempt) {
    if (auto change = solution(context, sums, ridge)) return {std::move(*change), ridge};
    if (attempt == most_attempts) unsolvable(ridge, name);
    ridge = ridge > 0 ? ridge * 10 : 1e-3;
  }
}

void warn_where_raised(const std::string& name, double wanted, double taken) {
  if (taken > wanted) log_warning("{}: the inputs' second moments needed a ridge of {:g}", name, taken);
}

PartsFit fit_parts(const ops::Context& context, std::vector<FitSums>& parts, const Compensation& compensation,
                   const std::string& name, const Sensitivity* sensitivity) {
  PartsFit found;
  if (compensation.ridge) {
    found.all = std::move(parts.at(0));
    found.ridge = *compensation.ridge;
  } else {
    found.all = {copy_of(parts.at(0).gram, context.device(), "the second moments of " + name),
                 copy_of(parts[0].residual, context.device(), "the targets of " + name)};
    ops::combine(context, 1, parts.at(1).gram, 1, found.all.gram);
    ops::combine(context, 1, parts[1].residual, 1, found.all.residual);
    found.ridge = choose_ridge(context, parts[0], parts[1], name, sensitivity);
  }
  found.correction = fit(context, found.all, found.ridge, name);
  warn_where_raised(name, found.ridge, found.correction.ridge);
  return found;
}

std::uint64_t fit_parts_bytes(std::int64_t columns, std::int64_t hidden, bool chosen, Device device) {
  const std::int64_t square = columns * columns, weight = columns * hidden;
  // A factor and a change; where a ridge is chosen, beside the sum of the parts, and then the change with its
  // product and with two of what the root of a sensitivity makes.
  // cuSOLVER's workspace is taken to be as large as the factor.
  const std::int64_t solution = (device == Device::cuda ? 2 : 1) * square + weight;
  return static_cast<std::uint64_t>(chosen ? square + weight + std::max(solution, 4 * weight) : solution) *
         sizeof(float);
}

double change_of_error(const ops::Context& context, const FitSums& sums, const Tensor& change,
                       const Sensitivity* sensitivity) {
  const OwnedTensor product = matrix(context, change.rows(), change.columns(), "a change's own part");
  if (sensitivity == nullptr || sensitivity->root->empty()) {
    ops::symmetric_product(context, sums.gram, change, product);
    return ops::inner_product(context, change, product) -
           2 * ops::inner_product(context, change, sums.residual);
  }
  // e^T G e = |R e|^2.
  const ops::Context exact = context.exact();
  const auto weighed = [&](const Tensor& values) {
    OwnedTensor rows = matrix(context, values.rows(), values.columns(), "a weighed change");
    ops::linear(exact, values, sensitivity->root, nullptr, rows);
    return rows;
  };
  const OwnedTensor own = weighed(change), residual = weighed(sums.residual);
  ops::symmetric_product(context, sums.gram, own, product);
  return ops::inner_product(context, own, product) - 2 * ops::inner_product(context, own, residual);
}

double choose_ridge(const ops::Context& context, const FitSums& training, const FitSums& held_out,
                    const std::string& name, const Sensitivity* sensitivity) {
  double best = infinite, least = 0;
  bool solved = false;
  for (const double ridge : ridges) {
    const auto change = solution(context, training, ridge);
    if (!change) continue;
    solved = true;
    const double error = change_of_error(context, held_out, *change, sensitivity);
    if (error < least) {
      least = error;
      best = ridge;
    }
  }
  if (!solved) unsolvable(ridges.back(), name);
  return best;
}

FitSums kept_sums(const ops::Context& context, const Tensor& gram, const Tensor& cross,
                  std::span<const std::int64_t> kept, const Tensor& weight) {
  const auto count = static_cast<std::int64_t>(kept.size());
  FitSums sums{matrix(context, count, count, "second moments of kept columns"),
               rows_of(context, cross, kept)};
  ops::principal_submatrix(context, gram, kept, sums.gram);
  const OwnedTensor explained = matrix(context, count, cross.columns(), "what kept columns explain");
  ops::symmetric_product(context, sums.gram, weight, explained);
  ops::combine(context, -1, explained, 1, sums.residual);
  return sums;
}

OwnedTensor cross_of(const ops::Context& context, const FitSums& sums, const Tensor& weight) {
  OwnedTensor cross = matrix(context, weight.rows(), weight.columns(), "a module's inputs by its targets");
  ops::symmetric_product(context, sums.gram, weight, cross);
  ops::combine(context, 1, sums.residual, 1, cross);
  return cross;
}

double choose_refit_ridge(const ops::Context& context, const FitSums& training, const FitSums& held_out,
                          const Tensor& weight, double ridge, std::span<const std::int64_t> kept,
                          double relative_damping, const std::string& name, const Sensitivity* sensitivity) {
  OwnedTensor compensated = fit(context, training, ridge, name).change;
  ops::combine(context, 1, weight, 1, compensated);
  // OBS leaves of W the kept columns plus (H_KK)^-1 H_KR W_R: their fit to W's own outputs.
  const OwnedTensor outputs =
      matrix(context, weight.rows(), weight.columns(), "a module's inputs by its outputs");
  ops::symmetric_product(context, training.gram, compensated, outputs);
  OwnedTensor pruned = rows_of(context, compensated, kept);
  const FitSums lost = kept_sums(context, training.gram, outputs, kept, pruned);
  ops::combine(context, 1, fit(context, lost, relative_damping, name).change, 1, pruned);
  return choose_ridge(context,
                      kept_sums(context, training.gram, cross_of(context, training, weight), kept, pruned),
                      kept_sums(context, held_out.gram, cross_of(context, held_out, weight), kept, pruned),
                      name, sensitivity);
}

}  // namespace galapagos
