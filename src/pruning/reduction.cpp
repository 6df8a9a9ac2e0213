#include "reduction.hpp"

#include <algorithm>
#include <vector>

namespace galapagos {
namespace {

constexpr int sum_tag = 21;
constexpr std::int64_t rows_per_message = 512;

/// Calls work(first row, rows, columns) for slabs of rows that cover what is summed: of a lower triangle, row
/// r has columns [0, r].
template <typename Work>
void for_slabs(const Reduction& reduction, Work&& work) {
  const std::int64_t n = reduction.shape[0];
  for (std::int64_t first = 0; first < n; first += rows_per_message) {
    const std::int64_t rows = std::min(rows_per_message, n - first);
    work(first, rows, reduction.triangle == Triangle::lower ? first + rows : reduction.shape[1]);
  }
}

/// Whole rows of a matrix in host memory: its own, or a copy in `storage` where it lies on a GPU.
const float* rows_on_host(const Tensor& matrix, std::int64_t first, std::int64_t rows,
                          std::vector<float>& storage) {
  const Tensor part = matrix.slice(first, rows);
  if (matrix.device == Device::cpu) return part.floats();
  storage.resize(static_cast<std::size_t>(part.elements()));
  copy_bytes(reinterpret_cast<std::byte*>(storage.data()), Device::cpu, part.data, part.device, part.bytes());
  return storage.data();
}

/// Adds a slab whose rows are `stride` apart.
void add_slab(const Reduction& reduction, const Tensor& sum, std::int64_t first, std::int64_t rows,
              std::int64_t columns, const float* slab, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r) {
    float* row = sum.floats() + (first + r) * sum.columns();
    const float* added = slab + r * stride;
    const std::int64_t count = reduction.triangle == Triangle::lower ? first + r + 1 : columns;
    for (std::int64_t j = 0; j < count; ++j) row[j] += added[j];
  }
}

void send(const Communicator& comm, const Reduction& reduction, const Tensor& summand) {
  std::vector<float> slab, storage;
  for_slabs(reduction, [&](std::int64_t first, std::int64_t rows, std::int64_t columns) {
    slab.resize(static_cast<std::size_t>(rows * columns));
    const float* from = rows_on_host(summand, first, rows, storage);
    for (std::int64_t r = 0; r < rows; ++r)
      std::copy_n(from + r * summand.columns(), columns, slab.data() + r * columns);
    comm.send(std::span<const float>(slab), reduction.owner, sum_tag);
  });
}

}  // namespace

OwnedTensor sum_at_owner(const Communicator& comm, const Reduction& reduction, OwnedTensor summand,
                         const std::string& purpose) {
  if (comm.rank() != reduction.owner) {
    for (const int holder : reduction.holders) {
      if (holder == comm.rank()) send(comm, reduction, summand);
    }
    return {};
  }
  if (reduction.holders.size() == 1 && reduction.holders[0] == reduction.owner) return summand;
  OwnedTensor sum(reduction.shape, DType::f32, Device::cpu, purpose);
  fill_zero(sum);
  std::vector<float> slab;
  for (const int holder : reduction.holders) {
    for_slabs(reduction, [&](std::int64_t first, std::int64_t rows, std::int64_t columns) {
      if (holder == reduction.owner) {
        const float* own = rows_on_host(summand, first, rows, slab);
        add_slab(reduction, sum, first, rows, columns, own, summand->columns());
      } else {
        slab.resize(static_cast<std::size_t>(rows * columns));
        comm.receive(std::span<float>(slab), holder, sum_tag);
        add_slab(reduction, sum, first, rows, columns, slab.data(), columns);
      }
    });
  }
  return sum;
}

}  // namespace galapagos
