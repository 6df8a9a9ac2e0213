#pragma once

#include <array>

#include <galapagos/ops/tuning.hpp>

// What was chosen for GPUs of the Hopper generation, mostly by count; see tests/bench for what was measured.
namespace galapagos::ops::cuda {

/// Threads of a block where a kernel has no reason for another number: eight blocks fill a multiprocessor.
constexpr int block_threads = 256;
/// Threads that go through a row of logits, and values that each has on the way at a time.
constexpr int row_threads = 512, logits_ahead = 4;
/// Most neighbouring values that an elementwise kernel takes together, up to 16 bytes.
constexpr int pack_size = 8;
/// Columns of a sum over rows that a block has, as a warp has lanes; many threads, so that many rows are on
/// their way.
constexpr int sum_columns = 32, sum_threads = 1024;
/// Partial sums of a norm, of an inner product and of a head norm's gradient: about what a GPU holds at a
/// time, and the same on every GPU, so that sums are.
constexpr int norm_blocks = 1024, inner_product_blocks = 512, head_norm_blocks = 1024;
/// Choices of experts that a block counts, one after the other: those of 32 tokens that go to 8 each.
constexpr std::int64_t routing_chunk = 256;
/// Sides of a tile of shared memory whose rows become columns, as a warp has lanes.
constexpr int transposed_side = 32;
/// Warps of a tile of attention, each with 16 rows; rows of the tiles that pass by on the way back.
constexpr int tensor_warps = 4, attention_moving_rows = 32;
/// Removals of structured OBS that share a pass over M and W: about so many, and never more than the second.
constexpr int obs_block = 128, obs_widest_block = 192;
static_assert(obs_widest_block >= obs_block + obs_block / 2);
/// Columns that a block ranks, one for each lane of a warp.
constexpr int obs_group_columns = 32;
/// Extent of the blocks of an inverse, and of the panels of X^T X in 16 bits.
constexpr std::int64_t inverse_block = 512, product_panel = 1024;
/// Bytes of host memory for small copies and for long ones, a piece at a time.
constexpr std::size_t pinned_bytes = 1 << 20, slot_bytes = 16 << 20;
/// Bytes of workspace that cuBLAS recommends for Hopper.
constexpr std::size_t blas_workspace_bytes = 32 << 20;
/// Bytes of attention's gradients through cuDNN: of the scores of one call, and of its workspace. Its way
/// that always sums in one order keeps all scores of a call on GPUs up to Hopper, in bf16.
constexpr std::size_t cudnn_score_bytes = 512 << 20, cudnn_workspace_bytes = 768 << 20;
/// Lengths in one call beyond which cuDNN is left alone, and plans of a process: each takes a while to make.
constexpr std::size_t cudnn_lengths = 8, cudnn_plans = 256;

inline constexpr std::array tuning = {
    Tuning{"logit_tile", logit_tile(Device::cuda)},
    Tuning{"compared_states", static_cast<std::int64_t>(compared_states(Device::cuda))},
    Tuning{"rows_brought", rows_brought},
    Tuning{"block_threads", block_threads},
    Tuning{"row_threads", row_threads},
    Tuning{"logits_ahead", logits_ahead},
    Tuning{"pack_size", pack_size},
    Tuning{"sum_columns", sum_columns},
    Tuning{"sum_threads", sum_threads},
    Tuning{"norm_blocks", norm_blocks},
    Tuning{"inner_product_blocks", inner_product_blocks},
    Tuning{"head_norm_blocks", head_norm_blocks},
    Tuning{"routing_chunk", routing_chunk},
    Tuning{"transposed_side", transposed_side},
    Tuning{"tensor_warps", tensor_warps},
    Tuning{"attention_moving_rows", attention_moving_rows},
    Tuning{"obs_block", obs_block},
    Tuning{"obs_widest_block", obs_widest_block},
    Tuning{"obs_group_columns", obs_group_columns},
    Tuning{"inverse_block", inverse_block},
    Tuning{"product_panel", product_panel},
    Tuning{"pinned_bytes", pinned_bytes},
    Tuning{"slot_bytes", slot_bytes},
    Tuning{"blas_workspace_bytes", blas_workspace_bytes},
    Tuning{"cudnn_score_bytes", cudnn_score_bytes},
    Tuning{"cudnn_workspace_bytes", cudnn_workspace_bytes},
    Tuning{"cudnn_lengths", cudnn_lengths},
    Tuning{"cudnn_plans", cudnn_plans},
};

}  // namespace galapagos::ops::cuda
