#pragma once

#include <cstdint>
#include <optional>

#include <galapagos/core/options.hpp>
#include <galapagos/search/budget.hpp>

namespace galapagos {

/// The size that is asked for, in one of several ways.
struct SizeTarget {
  std::optional<std::int64_t> level, parameters;
  std::optional<double> sparsity;  ///< share of the prunable parameters that goes

  int count() const { return (level ? 1 : 0) + (parameters ? 1 : 0) + (sparsity ? 1 : 0); }
};

void bind(Options& list, SizeTarget& target);
/// Of a target its sparsity alone.
void bind_sparsity(Options& list, SizeTarget& target);

/// The same target as a level or as parameters. UsageError where there is none or another, or the sparsity
/// cannot be met.
SizeTarget resolved(const SearchSpace& space, const SizeTarget& target);

/// The budget that a target asks for; UsageError as resolved(), Budget::of_level() and
/// Budget::of_parameters().
Budget make_budget(const SearchSpace& space, const SizeTarget& target);

}  // namespace galapagos
