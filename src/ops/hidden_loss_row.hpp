#pragma once

#include <cmath>

#include <galapagos/ops/hidden_loss.hpp>

#ifdef __CUDACC__
#define GALAPAGOS_BOTH_SIDES __host__ __device__
#else
#define GALAPAGOS_BOTH_SIDES
#endif

namespace galapagos::ops {

/// What both backends make of a row's sums: its loss, and the gradient by x, by_difference (x - r) +
/// by_reference r, in which nothing cancels where x comes near r.
struct HiddenLossRow {
  double loss;
  float by_difference, by_reference;

  GALAPAGOS_BOTH_SIDES HiddenLossRow(HiddenLoss kind, double squares, double reference_squares,
                                     double product, double difference) {
    constexpr double least = 1e-8;  // of a norm
    const double wanted = std::fmax(std::sqrt(reference_squares), least);
    if (kind == HiddenLoss::normalised) {
      loss = difference / (wanted * wanted);
      by_difference = static_cast<float>(2 / (wanted * wanted));
      by_reference = 0;
      return;
    }
    // d cos / d x = (r / |r| - cos x / |x|) / |x|.
    const double found = std::sqrt(squares), norm = std::fmax(found, least);
    const double cosine = product / (norm * wanted);
    loss = 1 - cosine;
    const double by_found = found > least ? cosine / (norm * norm) : 0;
    by_difference = static_cast<float>(by_found);
    by_reference = static_cast<float>(by_found - 1 / (norm * wanted));
  }
};

}  // namespace galapagos::ops
