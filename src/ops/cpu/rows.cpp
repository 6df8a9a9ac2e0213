#include "../backends.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

template <typename Word>
void transpose_words(const Word* in, Word* out, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t block = transposed_block;
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
  if (width == 0) return;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const auto row = static_cast<std::size_t>(rows[static_cast<std::size_t>(i)]);
    std::memcpy(out.data + static_cast<std::size_t>(i) * width, table.data + row * width, width);
  }
}

void convert(const Context&, const Tensor& in, const Tensor& out) {
  const std::int64_t count = in.elements();
#pragma omp parallel for schedule(static)
  for (std::int64_t first = 0; first < count; first += piece_of_elements) {
    const auto length = static_cast<std::size_t>(std::min(piece_of_elements, count - first)),
               at = static_cast<std::size_t>(first);
    const std::byte* from = in.data + at * size_of(in.dtype);
    std::byte* to = out.data + at * size_of(out.dtype);
    if (in.dtype == out.dtype) {
      std::memcpy(to, from, length * size_of(in.dtype));
    } else if (out.dtype == DType::f32) {
      convert_to_float(in.dtype, from, {out.floats() + first, length});
    } else if (in.dtype == DType::f32) {
      convert_from_float({in.floats() + first, length}, out.dtype, to);
    } else {
      std::vector<float> wide(length);
      convert_to_float(in.dtype, from, wide);
      convert_from_float(wide, out.dtype, to);
    }
  }
}

void add(const Context&, const Tensor& x, const Tensor& y) {
  const std::int64_t count = y.elements();
#pragma omp parallel for schedule(static)
  for (std::int64_t first = 0; first < count; first += piece_of_elements) {
    const auto length = static_cast<std::size_t>(std::min(piece_of_elements, count - first));
    std::vector<float> wide(length);
    convert_to_float(x.dtype, x.data + static_cast<std::size_t>(first) * size_of(x.dtype), wide);
    float* const to = y.floats() + first;
    for (std::size_t i = 0; i < length; ++i) to[i] += wide[i];
  }
}

void row_norms(const Context&, const Tensor& x, std::span<float> norms) {
  const std::int64_t columns = x.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < x.rows(); ++row) {
    const float* values = x.floats() + row * columns;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < columns; ++c) sum += values[c] * values[c];
    norms[static_cast<std::size_t>(row)] = std::sqrt(sum);
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
