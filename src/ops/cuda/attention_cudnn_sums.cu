#include "attention_cudnn.hpp"
#include "launch.cuh"

namespace galapagos::ops::cuda {
namespace {

template <bool to_rows>
__global__ void move_sums(const float* from, std::int64_t length, std::int64_t heads, std::int64_t count,
                          float* to) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) {
    const std::int64_t row = i / heads, head = i % heads;
    const std::int64_t other = (row / length * heads + head) * length + row % length;
    if constexpr (to_rows) {
      to[i] = from[other];
    } else {
      to[other] = from[i];
    }
  }
}

}  // namespace

void sums_to_rows(Resources& gpu, const float* sums, std::int64_t length, std::int64_t heads,
                  std::int64_t count, float* rows) {
  launch(gpu, move_sums<true>, blocks_for(count), block_threads, 0, sums, length, heads, count, rows);
}

void sums_from_rows(Resources& gpu, const float* rows, std::int64_t length, std::int64_t heads,
                    std::int64_t count, float* sums) {
  launch(gpu, move_sums<false>, blocks_for(count), block_threads, 0, rows, length, heads, count, sums);
}

}  // namespace galapagos::ops::cuda
