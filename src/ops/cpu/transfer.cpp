#include "../backends.hpp"

#include <algorithm>

namespace galapagos::ops::cpu {

void upload(const Context&, std::span<const std::byte> from, const Tensor& to) {
  std::copy_n(from.data(), to.bytes(), to.data);
}

void download(const Context&, const RowValues& from, std::span<double> to) {
  std::copy_n(from.data, from.size, to.begin());
}

}  // namespace galapagos::ops::cpu
