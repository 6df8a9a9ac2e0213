#include "../backends.hpp"
#include "gather.hpp"
#include "packs.cuh"
#include "reduce.cuh"
#include "tuning.hpp"

namespace galapagos::ops::cuda {
namespace {

template <typename Word>
__global__ void gather_words(const Word* table, const std::int64_t* rows, std::int64_t width,
                             std::int64_t count, Word* out) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads())
    out[i] = table[rows[i / width] * width + i % width];
}

template <int size, typename From, typename To>
__global__ void convert_values(const From* from, To* to, std::int64_t count) {
  for_packs<size>(count, [=]<int some>(PackSize<some>, std::int64_t i) {
    float values[some];
    load_pack(from + i, values);
    store_pack(values, to + i);
  });
}

template <int size, typename From>
__global__ void add_values(const From* from, float* to, std::int64_t count) {
  for_packs<size>(count, [=]<int some>(PackSize<some>, std::int64_t i) {
    float values[some], sums[some];
    load_pack(from + i, values);
    load_pack(to + i, sums);
#pragma unroll
    for (int k = 0; k < some; ++k) sums[k] += values[k];
    store_pack(sums, to + i);
  });
}

template <typename T>
__global__ void norms_of_rows(const T* x, std::int64_t columns, float* norms) {
  float sum = 0;
  for (std::int64_t c = threadIdx.x; c < columns; c += blockDim.x) {
    const float value = widen(x[blockIdx.x * columns + c]);
    sum += value * value;
  }
  sum = block_reduce(sum, Sum());
  if (threadIdx.x == 0) norms[blockIdx.x] = sqrtf(sum);
}

template <typename Word>
__global__ void transpose_tiles(const Word* in, Word* out, std::int64_t rows, std::int64_t columns) {
  __shared__ Word tile[transposed_side][transposed_side + 1];
  const std::int64_t across = (columns + transposed_side - 1) / transposed_side;
  const std::int64_t row = blockIdx.x / across * transposed_side,
                     column = blockIdx.x % across * transposed_side;
  const int x = static_cast<int>(threadIdx.x) % transposed_side,
            y = static_cast<int>(threadIdx.x) / transposed_side;
  const int step = static_cast<int>(blockDim.x) / transposed_side;
  for (int i = y; i < transposed_side; i += step) {
    if (row + i < rows && column + x < columns) tile[i][x] = in[(row + i) * columns + column + x];
  }
  __syncthreads();
  for (int i = y; i < transposed_side; i += step) {
    if (column + i < columns && row + x < rows) out[(column + i) * rows + row + x] = tile[x][i];
  }
}

/// Calls work with a null pointer to the widest word of which rows of `bytes` bytes at both places are made.
template <typename Work>
void with_word(std::size_t bytes, const void* first, const void* second, const Work& work) {
  const auto all = bytes | reinterpret_cast<std::uintptr_t>(first) | reinterpret_cast<std::uintptr_t>(second);
  if (all % sizeof(uint4) == 0) return work(static_cast<const uint4*>(nullptr));
  if (all % sizeof(std::uint32_t) == 0) return work(static_cast<const std::uint32_t*>(nullptr));
  work(static_cast<const std::uint16_t*>(nullptr));
}

}  // namespace

void gather(Resources& gpu, const Tensor& table, const std::int64_t* rows, std::int64_t count,
            const Tensor& out) {
  const std::size_t bytes = static_cast<std::size_t>(table.columns()) * size_of(table.dtype);
  if (bytes == 0 || count == 0) return;
  with_word(bytes, table.data, out.data, [&]<typename Word>(const Word*) {
    const auto width = static_cast<std::int64_t>(bytes / sizeof(Word));
    launch(gpu, gather_words<Word>, blocks_for(width * count), block_threads, 0,
           reinterpret_cast<const Word*>(table.data), rows, width, width * count,
           reinterpret_cast<Word*>(out.data));
  });
}

void gather_rows(const Context& context, const Tensor& table, std::span<const std::int64_t> rows,
                 const Tensor& out) {
  if (table.columns() == 0 || rows.empty()) return;
  Resources& gpu = context.cuda();
  const Array<std::int64_t> from = gpu.upload(rows);
  gather(gpu, table, from.data(), from.size(), out);
}

void convert(const Context& context, const Tensor& in, const Tensor& out) {
  const std::int64_t count = in.elements();
  const auto run = [&]<int size, typename From, typename To>(PackSize<size>, const From*, const To*) {
    launch(context.cuda(), convert_values<size, From, To>, blocks_for((count + size - 1) / size),
           block_threads, 0, data_as<From>(in), data_as<To>(out), count);
  };
  with_pack_size(aligned_for_packs(in.data, out.data), [&](auto size) {
    with_stored(in.dtype, [&](const auto* from) {
      with_stored(out.dtype, [&](const auto* to) { run(size, from, to); });
    });
  });
}

void add(const Context& context, const Tensor& x, const Tensor& y) {
  const std::int64_t count = y.elements();
  const auto run = [&]<int size, typename From>(PackSize<size>, const From*) {
    launch(context.cuda(), add_values<size, From>, blocks_for((count + size - 1) / size), block_threads, 0,
           data_as<From>(x), y.floats(), count);
  };
  with_pack_size(aligned_for_packs(x.data, y.data),
                 [&](auto size) { with_stored(x.dtype, [&](const auto* from) { run(size, from); }); });
}

void row_norms(const Context& context, const Tensor& x, std::span<float> norms) {
  if (x.rows() == 0) return;
  Resources& gpu = context.cuda();
  const Array<float> found(x.rows(), "norms of rows");
  with_stored(x.dtype, [&]<typename T>(const T*) {
    launch(gpu, norms_of_rows<T>, dim3(static_cast<unsigned>(x.rows())), block_threads, 0, data_as<T>(x),
           x.columns(), found.data());
  });
  gpu.download(found.data(), norms.first(static_cast<std::size_t>(x.rows())));
}

void transpose(const Context& context, const Tensor& in, const Tensor& out) {
  const std::int64_t rows = in.rows(), columns = in.columns();
  const std::int64_t tiles =
      (rows + transposed_side - 1) / transposed_side * ((columns + transposed_side - 1) / transposed_side);
  const auto run = [&]<typename Word>(const Word* from) {
    launch(context.cuda(), transpose_tiles<Word>, dim3(static_cast<unsigned>(tiles)), block_threads, 0, from,
           reinterpret_cast<Word*>(out.data), rows, columns);
  };
  if (size_of(in.dtype) == 2) {
    run(reinterpret_cast<const std::uint16_t*>(in.data));
  } else {
    run(reinterpret_cast<const std::uint32_t*>(in.data));
  }
}

}  // namespace galapagos::ops::cuda
