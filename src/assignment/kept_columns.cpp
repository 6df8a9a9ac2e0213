#include <algorithm>
#include <fmt/format.h>
#include <iterator>

#include <galapagos/assignment/kept_columns.hpp>
#include <galapagos/core/error.hpp>

namespace galapagos {

KeptColumns::KeptColumns(const StructureLayout& layout, std::span<const std::int32_t> order,
                         std::span<const std::int64_t> removed)
    : last_(static_cast<std::size_t>(layout.columns), static_cast<std::int16_t>(std::ssize(removed) - 1)) {
  for (std::size_t level = 0; level < removed.size(); ++level) {
    counts_.push_back(static_cast<std::int32_t>(layout.columns - removed[level] * layout.unit));
    const std::int64_t before = level == 0 ? 0 : removed[level - 1];
    for (std::int64_t i = before; i < removed[level]; ++i) {
      const std::int64_t structure = order[static_cast<std::size_t>(i)];
      std::fill_n(last_.begin() + structure * layout.unit, layout.unit,
                  static_cast<std::int16_t>(static_cast<std::int64_t>(level) - 1));
    }
  }
}

void KeptColumns::push_back(const std::vector<std::int64_t>& columns) {
  const auto level = static_cast<std::int16_t>(size());
  if (level == 0 && !columns.empty()) last_.assign(static_cast<std::size_t>(columns.back()) + 1, -1);
  for (const std::int64_t column : columns) {
    const auto at = static_cast<std::size_t>(column);
    if (at >= last_.size() || last_[at] != level - 1) {
      throw FailureError(fmt::format("column {} is kept at a level and not at the one before", column),
                         fmt::format("level {}", level), "report this as a defect");
    }
    last_[at] = level;
  }
  counts_.push_back(static_cast<std::int32_t>(columns.size()));
}

std::vector<std::int64_t> KeptColumns::operator[](std::size_t level) const {
  std::vector<std::int64_t> columns;
  columns.reserve(static_cast<std::size_t>(count(level)));
  for (std::size_t at = 0; at < last_.size(); ++at) {
    if (last_[at] >= static_cast<std::int16_t>(level)) columns.push_back(static_cast<std::int64_t>(at));
  }
  return columns;
}

}  // namespace galapagos
