#include <algorithm>
#include <cmath>
#include <numbers>

#include <galapagos/training/schedule.hpp>

namespace galapagos {

std::string name_of(Decay decay) {
  return decay == Decay::constant ? "constant" : decay == Decay::linear ? "linear" : "cosine";
}

double Schedule::at(std::int64_t step) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (decay == Decay::constant) return peak;
  const double length = static_cast<double>(std::max<std::int64_t>(steps - warmup, 1));
  const double x = std::clamp(static_cast<double>(step - warmup) / length, 0.0, 1.0);
  const double share = decay == Decay::linear ? 1 - x : (1 + std::cos(std::numbers::pi * x)) / 2;
  return least + (peak - least) * share;
}

}  // namespace galapagos
