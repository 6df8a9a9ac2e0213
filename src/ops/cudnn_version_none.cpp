#include <galapagos/ops/cudnn.hpp>

// Builds without cuDNN.
namespace galapagos::ops {

std::string cudnn_version() {
  return "none";
}

}  // namespace galapagos::ops
