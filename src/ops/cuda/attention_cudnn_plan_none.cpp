#include "attention_cudnn_plan.hpp"

// GPU builds without cuDNN.
namespace galapagos::ops::cuda {

bool cudnn_loads() {
  return false;
}

AttentionPlan* attention_plan(Resources&, AttentionStep, const AttentionShape&, std::size_t) {
  return nullptr;
}

}  // namespace galapagos::ops::cuda
