#include "../backends.hpp"
#include "resources.hpp"

namespace galapagos::ops::cuda {

void upload(const Context& context, std::span<const std::byte> from, const Tensor& to) {
  context.cuda().copy_from_host(to.data, from.data(), to.bytes());
}

void download(const Context& context, const RowValues& from, std::span<double> to) {
  if (from.device == Device::cpu) return cpu::download(context, from, to);
  context.cuda().download(from.data, to.first(static_cast<std::size_t>(from.size)));
}

}  // namespace galapagos::ops::cuda
