#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::ops {

/// An expert to which rows go: what is its part of operands that lie end to end.
struct GroupedPart {
  std::size_t expert;
  std::int64_t rows, in, out;        // the extents of its product
  std::int64_t first_in, first_out;  // its first element on either side

  Tensor of_inputs(const Tensor& all) const { return part(all, first_in, in); }
  Tensor of_outputs(const Tensor& all) const { return part(all, first_out, out); }

 private:
  Tensor part(const Tensor& all, std::int64_t first, std::int64_t columns) const {
    return all.view({all.elements()}).slice(first, rows * columns).view({rows, columns});
  }
};

/// Of all experts that have rows, by their weights [out, in].
inline std::vector<GroupedPart> grouped_parts(std::span<const std::int64_t> rows,
                                              std::span<const Tensor> weights) {
  std::vector<GroupedPart> parts;
  std::int64_t first_in = 0, first_out = 0;
  for (std::size_t expert = 0; expert + 1 < rows.size(); ++expert) {
    const std::int64_t count = rows[expert + 1] - rows[expert];
    if (count == 0) continue;
    const std::int64_t out = weights[expert].rows(), in = weights[expert].columns();
    parts.push_back({expert, count, in, out, first_in, first_out});
    first_in += count * in;
    first_out += count * out;
  }
  return parts;
}

}  // namespace galapagos::ops
