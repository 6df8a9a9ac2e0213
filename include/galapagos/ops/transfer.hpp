#pragma once

#include <cstddef>
#include <span>

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/row_values.hpp>

namespace galapagos::ops {

/// to = bytes of the host, as many as the tensor has. On a GPU nobody waits until they are there. They may be
/// changed at once, but those that are page-locked (PageLock) only when the device has got so far.
void upload(const Context& context, std::span<const std::byte> from, const Tensor& to);

/// to = the values, once they are there.
void download(const Context& context, const RowValues& from, std::span<double> to);

}  // namespace galapagos::ops
