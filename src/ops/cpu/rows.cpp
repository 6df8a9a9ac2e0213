#include "../backends.hpp"

#include <algorithm>
#include <cstring>

namespace galapagos::ops::cpu {
namespace {

template <typename Word>
void transpose_words(const Word* in, Word* out, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t block = 32;
#pragma omp parallel for schedule(static) collapse(2)
  for (std::int64_t i = 0; i < rows; i += block) {
    for (std::int64_t j = 0; j < columns; j += block) {
      for (std::int64_t c = j; c < std::min(j + block, columns); ++c) {
        for (std::int64_t r = i; r < std::min(i + block, rows); ++r) out[c * rows + r] = in[r * columns + c];
      }
    }
  }
}

}  // namespace

void gather_rows(const Context&, const Tensor& table, std::span<const std::int64_t> rows, const Tensor& out) {
  const std::size_t width = static_cast<std::size_t>(table.columns()) * size_of(table.dtype);
  const auto count = static_cast<std::int64_t>(rows.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const auto row = static_cast<std::size_t>(rows[static_cast<std::size_t>(i)]);
    std::memcpy(out.data + static_cast<std::size_t>(i) * width, table.data + row * width, width);
  }
}

void transpose(const Context&, const Tensor& in, const Tensor& out) {
  if (size_of(in.dtype) == 2) {
    transpose_words(reinterpret_cast<const std::uint16_t*>(in.data),
                    reinterpret_cast<std::uint16_t*>(out.data), in.rows(), in.columns());
  } else {
    transpose_words(in.floats(), out.floats(), in.rows(), in.columns());
  }
}

}  // namespace galapagos::ops::cpu
