#pragma once

#include <string>

namespace galapagos::ops {

/// The cuDNN that attention on a GPU may go through, for --version: its version, why it cannot be loaded, or
/// "none" of a build that does not know of it.
std::string cudnn_version();

}  // namespace galapagos::ops
