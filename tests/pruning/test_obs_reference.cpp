// Against what the reference's own class computed (fp32, relative damping 1e-2): same removed sets, same
// weights.
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cmath>
#include <cstring>
#include <set>

#include <galapagos/io/safetensors.hpp>
#include <galapagos/pruning/obs.hpp>

using namespace galapagos;

namespace {

template <typename T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry& entry = *file.find(name);
  std::vector<T> values(entry.data.size() / sizeof(T));
  std::memcpy(values.data(), entry.data.data(), entry.data.size());
  return values;
}

void compare(const std::filesystem::path& path, std::int64_t unit) {
  const SafetensorsFile file(path);
  const std::int64_t rows = file.find("weight")->shape[0], columns = file.find("weight")->shape[1];
  const auto weight = values_of<float>(file, "weight"), hessian = values_of<float>(file, "hessian");
  const auto removed = values_of<std::int32_t>(file, "columns_removed");
  ObsProblem problem;
  problem.name = "reference";
  problem.unit = unit;
  problem.weight = OwnedTensor({columns, rows}, DType::f32, Device::cpu, "test");
  problem.hessian = OwnedTensor({columns, columns}, DType::f32, Device::cpu, "test");
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      problem.weight->floats()[j * rows + i] = weight[static_cast<std::size_t>(i * columns + j)];
    }
  }
  std::copy(hessian.begin(), hessian.end(), problem.hessian->floats());
  std::int64_t dead = 0;
  for (std::int64_t j = 0; j < columns; ++j)
    dead += hessian[static_cast<std::size_t>(j * columns + j)] == 0 ? 1 : 0;
  for (std::size_t level = 1; level < removed.size(); ++level)
    problem.removed.push_back(removed[level] / unit);

  std::int64_t levels = 0;
  const ObsSummary summary = structured_obs(
      ops::Context(), problem,
      [&](std::int64_t level, std::span<const std::int64_t> kept, const Tensor& found) {
        ++levels;
        const auto expected = values_of<float>(file, "level_" + std::to_string(level));
        double scale = 0, worst = 0;
        std::set<std::int64_t> alive(kept.begin(), kept.end());
        for (std::int64_t i = 0; i < rows; ++i) {
          for (std::int64_t j = 0; j < columns; ++j) {
            const double value = expected[static_cast<std::size_t>(i * columns + j)];
            scale = std::max(scale, std::abs(value));
            if (!alive.contains(j))
              worst = std::max(worst, std::abs(value));  // what we removed, the reference has as zero
          }
          for (std::size_t k = 0; k < kept.size(); ++k) {
            const double value = found.floats()[static_cast<std::int64_t>(k) * rows + i];
            worst =
                std::max(worst, std::abs(value - expected[static_cast<std::size_t>(i * columns + kept[k])]));
          }
        }
        INFO("level " << level << ", " << kept.size() << " columns kept, largest difference " << worst
                      << " of " << scale);
        CHECK(worst <= 1e-4 * scale);
        CHECK(static_cast<std::int64_t>(kept.size()) == columns - removed[static_cast<std::size_t>(level)]);
      });
  CHECK(levels + 1 == static_cast<std::int64_t>(removed.size()));
  CHECK(summary.dead_columns == dead);
  CHECK(summary.attempts == 1);
}

}  // namespace

TEST_CASE("columns as the reference removes them", "[obs][shared]") {
  if (const auto path = test::shared_file("data/obs_columns.safetensors")) compare(*path, 1);
}

TEST_CASE("heads as the reference removes them", "[obs][shared]") {
  if (const auto path = test::shared_file("data/obs_heads.safetensors")) compare(*path, 16);
}
