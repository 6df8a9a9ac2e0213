#pragma once

#include "resources.hpp"

namespace galapagos::ops::cuda {

/// out [count, c] = rows `rows`, which lie on the GPU, of table [n, c], whatever the (same) type.
void gather(Resources& gpu, const Tensor& table, const std::int64_t* rows, std::int64_t count,
            const Tensor& out);

}  // namespace galapagos::ops::cuda
