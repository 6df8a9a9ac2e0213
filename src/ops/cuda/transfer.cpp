#include "../backends.hpp"
#include "resources.hpp"

namespace galapagos::ops::cuda {

void upload(const Context& context, std::span<const std::byte> from, const Tensor& to) {
  context.cuda().copy_from_host(to.data, from.data(), to.bytes());
}

}  // namespace galapagos::ops::cuda
