#pragma once

#include <cstdint>

namespace galapagos::ops::cuda {

/// What attention in bf16 goes through: whichever was measured to be faster, our own kernels, or cuDNN
/// wherever it can.
enum class AttentionWay : std::uint8_t { automatic, own, cudnn };

/// At first what GALAPAGOS_ATTENTION (auto, own or cudnn) says. UsageError for another word.
AttentionWay attention_way();
void set_attention_way(AttentionWay way);

}  // namespace galapagos::ops::cuda
