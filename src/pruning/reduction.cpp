#include "reduction.hpp"

#include <algorithm>
#include <vector>

#include <galapagos/ops/least_squares.hpp>

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

/// Rows of a matrix that go in one message between devices.
std::int64_t rows_of_message(const Shape& shape) {
  const std::int64_t columns = std::max<std::int64_t>(1, shape[1]);
  return std::min(shape[0], std::max<std::int64_t>(1, message_values / columns));
}

/// On the owner: what the holders have of some rows is added up in `own`, which holds its own part of them
/// where it has any. `spare`: twice as much.
void add_up(const ops::Context& context, Collectives& collectives, const Reduction& reduction,
            const Tensor& own, const Tensor& spare) {
  const bool holds = std::find(reduction.holders.begin(), reduction.holders.end(), reduction.owner) !=
                     reduction.holders.end();
  const Tensor before = holds ? spare.slice(0, own.rows()) : own;  // what is added up before its own
  const Tensor theirs = spare.slice(spare.rows() / 2, own.rows());
  Tensor sum;
  for (const int holder : reduction.holders) {
    if (holder == reduction.owner) {
      if (!sum.empty()) ops::combine(context, 1, sum, 1, own);
      sum = own;
      continue;
    }
    const Tensor& to = sum.empty() ? before : theirs;
    collectives.receive(to.data, to.bytes(), holder);
    if (sum.empty()) {
      sum = to;
    } else {
      ops::combine(context, 1, to, 1, sum);
    }
  }
}

}  // namespace

OwnedTensor sum_at_owner(const ops::Context& context, Collectives& collectives, const Reduction& reduction,
                         OwnedTensor summand, Device place, const std::string& purpose) {
  const bool owns = collectives.ranks().rank() == reduction.owner;
  if (owns && reduction.holders.size() == 1 && reduction.holders[0] == reduction.owner) return summand;
  const std::int64_t most = rows_of_message(reduction.shape);
  OwnedTensor sum = std::move(summand), spare;
  if (owns) {
    if (sum->empty()) sum = OwnedTensor(reduction.shape, DType::f32, place, purpose);
    spare =
        OwnedTensor({2 * most, reduction.shape[1]}, DType::f32, context.device(), "summands of " + purpose);
  }
  for (std::int64_t first = 0; first < reduction.shape[0]; first += most) {
    const std::int64_t rows = std::min(most, reduction.shape[0] - first);
    if (!owns) {
      if (sum->empty()) break;  // no holder
      const Tensor part = sum->slice(first, rows);
      collectives.send(part.data, part.bytes(), reduction.owner);
      continue;
    }
    const Tensor part = sum->slice(first, rows);
    const bool there = part.device == context.device();
    const Tensor on_device = there ? part : spare.view().slice(0, rows);
    add_up(context, collectives, reduction, on_device, spare);
    if (!there) copy_values(on_device, part);
  }
  return owns ? std::move(sum) : OwnedTensor();
}

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
