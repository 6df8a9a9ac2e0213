#pragma once

#include "finalists.hpp"

#include <galapagos/search/front.hpp>

namespace galapagos {

/// The best of the first `count` finalists for each budget (of one size `sparsities` may be empty), which
/// smaller ones meet too. The first `raced` come before the others, of which one is taken where it is better
/// for sure.
/// NumericalError where none that meets a budget has a finite fitness.
std::vector<FrontPoint> choose_front(const std::vector<double>& sparsities,
                                     const std::vector<Budget>& budgets, const Finalists& finalists,
                                     std::size_t raced, std::size_t count);

}  // namespace galapagos
