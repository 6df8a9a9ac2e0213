#include <algorithm>

#include <galapagos/assignment/weight_in_place.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {
namespace {

/// The checkpoint's own.
std::vector<float> unpruned(const Checkpoint& checkpoint, const HfConfig& config, const ModuleId& module) {
  const std::int64_t hidden = config.hidden_size, columns = module_columns(config, module);
  const std::vector<float> rows = checkpoint.read_float(name_of(module) + ".weight", {hidden, columns});
  std::vector<float> weight(rows.size());
  for (std::int64_t i = 0; i < hidden; ++i) {
    for (std::int64_t j = 0; j < columns; ++j)
      weight[static_cast<std::size_t>(j * hidden + i)] = rows[static_cast<std::size_t>(i * columns + j)];
  }
  return weight;
}

}  // namespace

std::vector<float> weight_in_place(const Checkpoint& checkpoint, const HfConfig& config,
                                   const DatabaseReader& database, const SearchSpace& space,
                                   const Assignment& assignment, const ModuleId& module) {
  const auto found = std::find_if(space.modules.begin(), space.modules.end(),
                                  [&](const ModuleChoices& choices) { return choices.id == module; });
  const std::int64_t level = assignment[static_cast<std::size_t>(found - space.modules.begin())];
  if (level < space.first_stored) return unpruned(checkpoint, config, module);
  const std::int64_t hidden = config.hidden_size;
  std::vector<float> weight(static_cast<std::size_t>(module_columns(config, module) * hidden), 0.0f);
  const std::vector<std::int64_t> kept = found->kept[static_cast<std::size_t>(level)];
  if (kept.empty()) return weight;
  std::vector<std::byte> words = database.level_bytes(module, level, true);
  const Shape shape{std::ssize(kept), hidden};
  const Tensor stored{words.data(), shape, database.header().dtype, Device::cpu};
  const OwnedTensor rows(shape, DType::f32, Device::cpu, "a level's weight");
  ops::convert(ops::Context(), stored, rows);
  for (std::int64_t i = 0; i < std::ssize(kept); ++i)
    std::copy_n(rows->floats() + i * hidden, hidden,
                weight.data() + kept[static_cast<std::size_t>(i)] * hidden);
  return weight;
}

}  // namespace galapagos
