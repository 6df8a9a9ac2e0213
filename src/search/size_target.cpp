#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/search/size_target.hpp>

namespace galapagos {

void bind_sparsity(Options& list, SizeTarget& target) {
  list.add("target-sparsity", target.sparsity, "or: this share of the prunable parameters goes, as 0.5",
           {.least = 0,
            .most = 1,
            .above = true,
            .refusal = "a sparsity of {}",
            .remedy = "give a share above 0 and up to 1, as 0.5",
            .decides = true});
}

void bind(Options& list, SizeTarget& target) {
  list.add("target-level", target.level, "the size: this level on average, for each kind of module",
           {.remedy = "give a whole number; for a size between two levels --target-sparsity 0.45, or "
                      "--target-params",
            .decides = true});
  list.add("target-params", target.parameters, "or: at most so many parameters in all", {.decides = true});
  bind_sparsity(list, target);
}

SizeTarget resolved(const SearchSpace& space, const SizeTarget& target) {
  check_ranges(target);
  if (target.count() != 1) {
    throw UsageError(fmt::format("{} targets", target.count()),
                     "--target-level, --target-params, --target-sparsity", "give one of them");
  }
  if (!target.sparsity) return target;
  const double sparsity = *target.sparsity;
  const auto dense = static_cast<double>(space.dense_parameters());
  const std::int64_t kept = std::llround(std::min((1 - sparsity) * dense, dense - 1));
  if (kept < space.smallest_parameters()) {
    throw UsageError(fmt::format("a sparsity of {:g}, but this database goes to {:.4f}", sparsity,
                                 1 - static_cast<double>(space.smallest_parameters()) / dense),
                     "--target-sparsity", "choose a smaller one");
  }
  return {{}, space.fixed_parameters + kept, {}};
}

Budget make_budget(const SearchSpace& space, const SizeTarget& target) {
  const SizeTarget one = resolved(space, target);
  return one.level ? Budget::of_level(space, *one.level) : Budget::of_parameters(space, *one.parameters);
}

}  // namespace galapagos
