#pragma once

#include <cstdint>
#include <vector>

namespace galapagos::ops {

/// Activations between the products of experts, end to end: rows [rows[e], rows[e + 1]) are expert e's and
/// columns[e] wide.
struct ExpertRows {
  std::vector<std::int64_t> rows = {0};  ///< one more than experts
  std::vector<std::int64_t> columns;

  std::int64_t experts() const { return static_cast<std::int64_t>(columns.size()); }
  std::int64_t count() const { return rows.back(); }
  std::int64_t rows_of(std::int64_t expert) const {
    return rows[static_cast<std::size_t>(expert) + 1] - rows[static_cast<std::size_t>(expert)];
  }
  /// Where each expert's elements begin, and where the last one's end.
  std::vector<std::int64_t> first_elements() const;
};

}  // namespace galapagos::ops
