#include "cholesky.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>

#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/search/surrogate.hpp>

namespace galapagos {
namespace {

using Vector = std::vector<double>;

constexpr double tokens_of_weight_one = 1024;
// Noise of a measurement over what corrections may be, squared: neither is known beforehand.
constexpr std::array ridges = {1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4};
// The slope says how far the unit is off, which it usually is by more than single modules are.
constexpr double share_of_slope = 1e-3;
constexpr double size_of_rates = 2, size_of_pairs = 0.3;
constexpr double least_factor = 0.1;

/// The end losses of a module's levels beyond the least of them: those that are changes may be negative, and
/// what all levels have in common decides nothing.
Vector excess_losses(const SearchSpace& space, std::size_t module) {
  Vector losses = space.modules[module].end_loss;
  const double least = *std::min_element(losses.begin(), losses.end());
  for (double& loss : losses) loss -= least;
  return losses;
}

double excess_loss(const SearchSpace& space, const Assignment& assignment, std::size_t module) {
  return excess_losses(space, module)[static_cast<std::size_t>(assignment[module])];
}

/// What the rate of a module's part is of.
double share_of_levels(const SearchSpace& space, std::size_t module, std::int64_t level) {
  const std::int64_t last = space.modules[module].last();
  return last > 0 ? size_of_rates * static_cast<double>(level) / static_cast<double>(last) : 0;
}

/// The sum of what `of` says of each module, part by part.
template <typename Of>
Vector summed_by_part(const std::vector<std::size_t>& begins, const Of& of) {
  Vector sums;
  for (std::size_t p = 0; p + 1 < begins.size(); ++p) {
    double& sum = sums.emplace_back(0.0);
    for (std::size_t i = begins[p]; i < begins[p + 1]; ++i) sum += of(i);
  }
  return sums;
}

Vector excess_losses_of_parts(const SearchSpace& space, const std::vector<std::size_t>& begins,
                              const Assignment& assignment) {
  return summed_by_part(begins, [&](std::size_t i) { return excess_loss(space, assignment, i); });
}

/// What the weights are of, in units of the scale.
Vector features_of(const SearchSpace& space, const Assignment& assignment, double scale) {
  const std::vector<std::size_t> begins = space.part_begins();
  const Vector losses = excess_losses_of_parts(space, begins, assignment);
  const Vector shares =
      summed_by_part(begins, [&](std::size_t i) { return share_of_levels(space, i, assignment[i]); });
  const std::size_t parts = losses.size();
  Vector values;
  values.reserve(surrogate_features(space));
  values.push_back(space.predicted_loss(assignment) / scale);
  for (const double loss : losses) values.push_back(loss / scale);
  for (std::size_t p = 0; p < parts; ++p)
    values.push_back(shares[p] / static_cast<double>(begins[p + 1] - begins[p]));
  for (std::size_t p = 0; p + 1 < parts; ++p)
    values.push_back(size_of_pairs * std::sqrt(values[1 + p] * values[2 + p]));
  return values;
}

/// Finite measurements of a stage: features and what they lose beyond the plain sum, both in units of the
/// scale and less their means.
struct Centred {
  double weight = 0;  // of each
  std::vector<Vector> rows;
  Vector losses;
  Vector mean_row;
  double mean_loss = 0;

  Centred(const SearchSpace& space, const MeasuredStage& stage, double scale);
};

Centred::Centred(const SearchSpace& space, const MeasuredStage& stage, double scale)
    : weight(static_cast<double>(stage.tokens) / tokens_of_weight_one),
      mean_row(surrogate_features(space), 0.0) {
  for (const Measurement& one : stage.candidates) {
    if (!std::isfinite(one.fitness)) continue;
    rows.push_back(features_of(space, one.assignment, scale));
    losses.push_back(one.fitness / scale - rows.back().front());
  }
  if (rows.empty()) return;
  const auto count = static_cast<double>(rows.size());
  for (const Vector& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) mean_row[i] += row[i] / count;
  }
  mean_loss = std::accumulate(losses.begin(), losses.end(), 0.0) / count;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    losses[r] -= mean_loss;
    for (std::size_t i = 0; i < rows[r].size(); ++i) rows[r][i] -= mean_row[i];
  }
}

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

void add(const Centred& stage, SurrogateMoments& moments) {
  const std::size_t size = moments.right.size();
  for (std::size_t r = 0; r < stage.rows.size(); ++r) {
    const Vector& row = stage.rows[r];
    double* product = moments.products.data();
    for (std::size_t i = 0; i < size; ++i) {
      const double weighed = stage.weight * row[i];
      for (std::size_t j = 0; j <= i; ++j) *product++ += weighed * row[j];
      moments.right[i] += weighed * stage.losses[r];
    }
  }
  const double weight = stage.weight * static_cast<double>(stage.rows.size());
  for (std::size_t i = 0; i < size; ++i) moments.features[i] += weight * stage.mean_row[i];
  moments.losses += weight * stage.mean_loss;
  moments.weight += weight;
}

Vector weights_at(const SurrogateMoments& moments, double ridge) {
  Vector diagonal(moments.right.size(), ridge);
  diagonal.front() *= share_of_slope;
  return Cholesky(moments.products, diagonal).solve(moments.right);
}

std::uint64_t fingerprint(const Assignment& assignment) {
  return Hash64().add(std::as_bytes(std::span(assignment))).value();
}

void note_measured(std::span<const MeasuredStage> stages, std::vector<std::uint64_t>& known) {
  for (const MeasuredStage& stage : stages) {
    for (const Measurement& one : stage.candidates) known.push_back(fingerprint(one.assignment));
  }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
}

}  // namespace

std::size_t surrogate_features(const SearchSpace& space) {
  const std::size_t parts = space.part_begins().size() - 1;
  return 1 + 2 * parts + (parts > 0 ? parts - 1 : 0);
}

std::size_t surrogate_ridges() {
  return ridges.size();
}

double end_loss_scale(const SearchSpace& space) {
  Vector all;
  const std::vector<std::size_t> begins = space.part_begins();
  for (std::size_t p = 0; p + 1 < begins.size(); ++p) {
    Vector losses = excess_losses(space, begins[p]);
    for (std::size_t i = begins[p] + 1; i < begins[p + 1]; ++i) {
      const Vector more = excess_losses(space, i);
      for (std::size_t level = 0; level < losses.size(); ++level)  // one that is narrow may have fewer
        losses[level] += more[std::min(level, more.size() - 1)];
    }
    std::copy_if(losses.begin(), losses.end(), std::back_inserter(all), [](double loss) { return loss > 0; });
  }
  if (all.empty()) return 1;
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end());
  return *middle;
}

double expected_loss(const SearchSpace& space, const Surrogate& surrogate, const Assignment& assignment) {
  const double sum = space.predicted_loss(assignment);
  if (surrogate.weights.empty()) return sum;
  const Vector features = features_of(space, assignment, surrogate.scale);
  return sum + surrogate.constant + surrogate.scale * dot(features, surrogate.weights);
}

EndLosses corrected_end_losses(const SearchSpace& space, const Surrogate& surrogate,
                               const Assignment& around) {
  EndLosses losses;
  for (std::size_t i = 0; i < space.modules.size(); ++i) losses.push_back(excess_losses(space, i));
  if (surrogate.weights.empty()) return losses;
  const std::vector<std::size_t> begins = space.part_begins();
  const std::size_t parts = begins.size() - 1;
  const Vector of_parts = excess_losses_of_parts(space, begins, around);
  const double* factors = surrogate.weights.data() + 1;
  const double *rates = factors + parts, *pairs = rates + parts;
  for (std::size_t p = 0; p < parts; ++p) {
    const auto modules = static_cast<double>(begins[p + 1] - begins[p]);
    double neighbours = 0;
    if (p > 0) neighbours += pairs[p - 1] * std::sqrt(of_parts[p - 1]);
    if (p + 1 < parts) neighbours += pairs[p] * std::sqrt(of_parts[p + 1]);
    for (std::size_t i = begins[p]; i < begins[p + 1]; ++i) {
      const double others = modules > 1 ? std::max(0.0, of_parts[p] - excess_loss(space, around, i)) : 0.0;
      for (std::size_t level = 0; level < losses[i].size(); ++level) {
        double& loss = losses[i][level];
        const double share = share_of_levels(space, i, static_cast<std::int64_t>(level)) / modules;
        const double corrected = (1 + surrogate.weights.front() + factors[p]) * loss +
                                 surrogate.scale * rates[p] * share +
                                 size_of_pairs * neighbours * (std::sqrt(others + loss) - std::sqrt(others));
        loss = std::max(corrected, least_factor * loss);
      }
    }
  }
  return losses;
}

void learn(const SearchSpace& space, std::span<const MeasuredStage> stages, SurrogateMoments& moments) {
  const std::size_t size = surrogate_features(space);
  moments.products.resize(size * (size + 1) / 2);
  moments.right.resize(size);
  moments.features.resize(size);
  moments.errors.resize(ridges.size());
  const double scale = end_loss_scale(space);
  std::vector<Centred> all;
  for (const MeasuredStage& stage : stages) all.emplace_back(space, stage, scale);
  if (moments.weight > 0) {
    for (std::size_t k = 0; k < ridges.size(); ++k) {
      const Vector weights = weights_at(moments, ridges[k]);
      for (const Centred& stage : all) {
        for (std::size_t r = 0; r < stage.rows.size(); ++r) {
          const double error = stage.losses[r] - dot(stage.rows[r], weights);
          moments.errors[k] += stage.weight * error * error;
        }
      }
    }
  }
  for (const Centred& stage : all) add(stage, moments);
  note_measured(stages, moments.assignments);
}

Surrogate fit(const SearchSpace& space, const SurrogateMoments& moments) {
  if (!(moments.weight > 0)) return {};
  // Of equal ones the greatest, which trusts the plain sum most.
  std::size_t best = ridges.size() - 1;
  for (std::size_t k = best; k-- > 0;) {
    if (moments.errors[k] < moments.errors[best]) best = k;
  }
  Surrogate surrogate{end_loss_scale(space), 0, weights_at(moments, ridges[best]), ridges[best]};
  if (!std::all_of(surrogate.weights.begin(), surrogate.weights.end(),
                   [](double weight) { return std::isfinite(weight); })) {
    log_warning("the surrogate's weights are not finite: the plain sum of end losses stands in for it");
    return {};
  }
  surrogate.constant =
      surrogate.scale * (moments.losses - dot(moments.features, surrogate.weights)) / moments.weight;
  return surrogate;
}

bool is_measured(const SurrogateMoments& moments, const Assignment& assignment) {
  return std::binary_search(moments.assignments.begin(), moments.assignments.end(), fingerprint(assignment));
}

}  // namespace galapagos
