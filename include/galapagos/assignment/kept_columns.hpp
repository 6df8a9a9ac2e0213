#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/pruning/levels.hpp>

namespace galapagos {

/// The columns that the levels of a module keep. As each level keeps a part of what the level before it
/// keeps, it is enough to know of each column the last level that does: models have tens of thousands of
/// modules.
class KeptColumns {
 public:
  KeptColumns() = default;
  /// Of levels at which the first `removed` structures of an order are gone.
  KeptColumns(const StructureLayout& layout, std::span<const std::int32_t> order,
              std::span<const std::int64_t> removed);

  /// The columns, ascending, of the next level. FailureError where the level before has not all of them.
  void push_back(const std::vector<std::int64_t>& columns);

  /// Levels.
  std::size_t size() const { return counts_.size(); }
  /// How many columns a level keeps.
  std::int64_t count(std::size_t level) const { return counts_[level]; }
  /// The columns that a level keeps, ascending.
  std::vector<std::int64_t> operator[](std::size_t level) const;

 private:
  std::vector<std::int16_t> last_;  // level that keeps a column; -1: none does
  std::vector<std::int32_t> counts_;
};

}  // namespace galapagos
