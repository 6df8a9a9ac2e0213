#include "../backends.hpp"

#include <algorithm>

namespace galapagos::ops::cpu {

std::int64_t obs_damp(const Context&, ObsState& state, double relative_damping) {
  const std::int64_t n = state.columns, rows = state.rows;
  float* h = state.inverse->floats();
  std::int64_t dead = 0;
  double trace = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    if (h[j * n + j] == 0) {
      ++dead;
      h[j * n + j] = 1;
      std::fill_n(state.weight->floats() + j * rows, rows, 0.0f);
    }
    trace += h[j * n + j];
  }
  const double added = relative_damping * trace / static_cast<double>(n);
  for (std::int64_t j = 0; j < n; ++j) h[j * n + j] = static_cast<float>(h[j * n + j] + added);
  for (std::int64_t j = 0; j < n; ++j) {
    const float* column = state.weight->floats() + j * rows;
    if (std::any_of(column, column + rows, [](float value) { return value != 0; })) continue;
    std::fill_n(h + j * n, j, 0.0f);
    for (std::int64_t i = j + 1; i < n; ++i) h[i * n + j] = 0;
    h[j * n + j] = 1;
  }
  return dead;
}

}  // namespace galapagos::ops::cpu
