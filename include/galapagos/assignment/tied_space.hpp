#pragma once

#include <cstdint>

#include <galapagos/assignment/space.hpp>

namespace galapagos {

/// Which experts of mixtures have one level together, and so as many columns each (which ones, every expert
/// for itself): none, those of a layer, those of the model.
enum class ExpertTie : std::uint8_t { free, equal, uniform };

/// The space in which one module, called as the feed-forward part of its (first) layer, stands for experts
/// that have one level together; the same space where none have. UsageError naming --experts where there are
/// no experts, or some that are to be tied have not the same levels.
SearchSpace tied_space(SearchSpace space, ExpertTie tie);

}  // namespace galapagos
