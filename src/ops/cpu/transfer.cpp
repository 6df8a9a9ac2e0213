#include "../backends.hpp"

#include <algorithm>

namespace galapagos::ops::cpu {

void upload(const Context&, std::span<const std::byte> from, const Tensor& to) {
  std::copy_n(from.data(), to.bytes(), to.data);
}

}  // namespace galapagos::ops::cpu
