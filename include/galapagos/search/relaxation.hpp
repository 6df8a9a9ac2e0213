#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/search/budget.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/relaxation_options.hpp>
#include <galapagos/search/relaxed_model.hpp>

namespace galapagos {

/// Levels on their way to the least loss of a budget.
struct Relaxation {
  std::int64_t step = 0;         ///< that are done
  RelaxedLevels levels;          ///< of the next step's gradient
  RelaxedLevels settled;         ///< their mean over the second half of the steps done
  std::vector<double> slope;     ///< the gradient by each level, smoothed
  std::vector<double> squares;   ///< of what the gradient has beside the budget's price, smoothed
  std::vector<double> variance;  ///< of where each module's level is best, as far as is known; levels^2

  /// All of it, to the last bit.
  std::string to_json() const;
  /// InputError, naming `where`, where it is none of this space.
  static Relaxation from_json(const std::string& text, const SearchSpace& space, const std::string& where);
};

/// At an assignment, which meets the budget.
Relaxation relaxed(const Assignment& assignment);

/// From where another budget's levels have settled, along the costs into this one; no step is done yet.
Relaxation moved(const SearchSpace& space, const Budget& budget, const Relaxation& from);

/// One step along the budget, by what is left of the gradient of the mean loss without its part along the
/// costs (the Lagrangian's, its multipliers by least squares). Where a module's level is best is taken to be
/// normal about where it began, `spread` wide; the rest of the gradient measures how far that is, as a loss
/// that bends by a level's price (the mean price where it costs nothing) over the level would say, with the
/// mean square of such rests and of the price as its noise: the level goes to the mean of what is then known
/// (a scalar Kalman filter). So modules whose gradient varies much stay near their start. What
/// costs too much then is corrected along the costs, which are linear between levels; where there is one
/// limit, what is left of it is used.
void advance(const SearchSpace& space, const Budget& budget, const RelaxationOptions& options,
             const std::vector<double>& gradient, Relaxation& relaxation);

/// What levels lose near where they have settled, as far as learning them has shown: a level's price times
/// d^2 + l, d being its distance from level l. `factors` of the prices, one per module, or none.
EndLosses losses_near(const SearchSpace& space, const Budget& budget, const Relaxation& relaxation,
                      const std::vector<double>& factors = {});

/// The assignment of the budget nearest to the settled levels: of the least sum of losses_near(), as
/// least_loss() finds it.
Assignment nearest(const SearchSpace& space, const Budget& budget, const Relaxation& relaxation,
                   const std::vector<double>& factors = {});

}  // namespace galapagos
