#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/measurements.hpp>

namespace galapagos {

/// What an assignment of levels l_i is expected to lose, by the levels' end losses L_i and by what was
/// measured (nats per token; e_p is the L of part p beyond the least of its modules, which is negative where
/// end losses are changes; s is the median of all e):
///
///   constant + (1 + slope) sum_i L_i + sum_p f_p e_p + s sum_p r_p 2 l_p / last_p
///            + sum_p q_p 0.3 sqrt(e_p e_(p+1))
///
/// Every part has a factor f_p and a rate r_p of its own, and every two neighbours (attention and
/// feed-forward part of a layer, feed-forward part and the next layer's attention) what they lose together.
/// 2 and 0.3 say how large such corrections may be beside each other. A part is one module, or the experts of
/// a mixture, whose losses are summed up and whose levels are averaged: of thousands of experts no run
/// measures enough to tell them apart.
struct Surrogate {
  double scale = 1;  ///< s
  double constant = 0;
  std::vector<double> weights;  ///< slope, f_0, f_1, ..., r_0, ..., q_0, ...; empty: nothing is measured yet
  double ridge = 0;             ///< that they were learned with
};

/// The median of the end losses of a space's parts, all modules of one at the same level, beyond the least of
/// their modules, of those above 0; 1 where there are none.
double end_loss_scale(const SearchSpace& space);

double expected_loss(const SearchSpace& space, const Surrogate& surrogate, const Assignment& assignment);

/// The end losses beyond the least of each module with what the surrogate adds, all other modules being as in
/// `around`; at least a tenth of what they were.
EndLosses corrected_end_losses(const SearchSpace& space, const Surrogate& surrogate,
                               const Assignment& around);

/// All that a surrogate is made of: moments of features and measurements, of the same size however many there
/// are. Fitness differs from draw to draw of tokens, so that they are centred within every stage; a stage
/// weighs as much as it has tokens.
struct SurrogateMoments {
  std::vector<double> products;  ///< of features, the lower triangle row by row
  std::vector<double> right;     ///< features times losses less the plain sum
  std::vector<double> features;  ///< not centred, summed up
  double losses = 0;             ///< likewise
  double weight = 0;             ///< of all measurements
  std::vector<double> errors;    ///< of each ridge's predictions, squared, made before learning from
                                 ///< what they predicted
  std::vector<std::uint64_t> assignments;  ///< fingerprints of what was measured, ascending

  bool operator==(const SurrogateMoments&) const = default;
};

/// Features of a surrogate.
std::size_t surrogate_features(const SearchSpace& space);
/// Ridges that are tried.
std::size_t surrogate_ridges();

/// Adds the measurements of some stages; those that are not finite are passed over. Before that, every ridge
/// is judged by what it would have said of them. The space has to have end losses.
void learn(const SearchSpace& space, std::span<const MeasuredStage> stages, SurrogateMoments& moments);

/// The surrogate by ridge regression, at the ridge that has predicted best so far; the plain sum where
/// nothing finite comes of that.
Surrogate fit(const SearchSpace& space, const SurrogateMoments& moments);

/// Whether an assignment is among those learned from.
bool is_measured(const SurrogateMoments& moments, const Assignment& assignment);

}  // namespace galapagos
