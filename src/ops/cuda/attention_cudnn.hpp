#pragma once

#include "attention_kernels.hpp"
#include "attention_way.hpp"

#include <cstdint>
#include <span>
#include <vector>

// Attention in bf16 through cuDNN: which sequences it gets, and their layout.
namespace galapagos::ops::cuda {

/// Neighbouring sequences that go one way: those of offsets, each `cudnn_length` long where cuDNN is to
/// compute them and 0 otherwise.
struct AttentionPart {
  std::span<const std::int64_t> offsets;
  std::int64_t cudnn_length;
};

/// All sequences, in their order; those without tokens may be left out.
std::vector<AttentionPart> parts_of(const Resources& gpu, const AttentionInput& input);

/// Attention of sequences of one length, and its gradients. False where cuDNN cannot, which the log tells;
/// nothing that it leaves may be used then.
bool cudnn_attention(Resources& gpu, const AttentionInput& input, std::int64_t length, const Tensor& out,
                     const Tensor& log_sums);
bool cudnn_attention_backward(Resources& gpu, const AttentionInput& input, std::int64_t length,
                              const AttentionGradients& to);

/// The `count` logarithms of rows [sequences * length, heads] from or to cuDNN's [sequences, heads, length].
void sums_to_rows(Resources& gpu, const float* sums, std::int64_t length, std::int64_t heads,
                  std::int64_t count, float* rows);
void sums_from_rows(Resources& gpu, const float* rows, std::int64_t length, std::int64_t heads,
                    std::int64_t count, float* sums);

}  // namespace galapagos::ops::cuda
