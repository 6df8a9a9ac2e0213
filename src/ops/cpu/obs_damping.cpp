#include "../backends.hpp"

#include <algorithm>

namespace galapagos::ops::cpu {

ObsDamping obs_damp(const Context&, ObsState& state, double relative_damping, double least_mean) {
  const std::int64_t n = state.columns, rows = state.rows;
  float* h = state.inverse->floats();
  const auto column = [&](const OwnedTensor& weight, std::int64_t j) { return weight->floats() + j * rows; };
  ObsDamping damping;
  double trace = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    if (h[j * n + j] == 0 && least_mean == 0) {
      ++damping.dead;
      h[j * n + j] = 1;
      std::fill_n(column(state.weight, j), rows, 0.0f);
      if (state.followed()) std::fill_n(column(state.follower, j), rows, 0.0f);
    }
    trace += h[j * n + j];
  }
  damping.added = relative_damping * std::max(trace / static_cast<double>(n), least_mean);
  for (std::int64_t j = 0; j < n; ++j) h[j * n + j] = static_cast<float>(h[j * n + j] + damping.added);
  for (std::int64_t j = 0; j < n; ++j) {
    const float* values = column(state.followed() ? state.follower : state.weight, j);
    if (std::any_of(values, values + rows, [](float value) { return value != 0; })) continue;
    std::fill_n(h + j * n, j, 0.0f);
    for (std::int64_t i = j + 1; i < n; ++i) h[i * n + j] = 0;
    h[j * n + j] = 1;
  }
  return damping;
}

}  // namespace galapagos::ops::cpu
