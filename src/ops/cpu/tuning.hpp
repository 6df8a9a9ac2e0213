#pragma once

#include <array>

#include <galapagos/ops/tuning.hpp>

// What was measured to be best on CPUs (AMD EPYC and Intel Xeon, OpenBLAS; tests/bench).
namespace galapagos::ops::cpu {

/// Extent of a matrix that factorisations do not halve any more: what LAPACK does well itself.
constexpr std::int64_t cholesky_leaf = 128;
/// Removals of structured OBS that share a pass over M and W; more of them cost more beside it than they
/// save.
constexpr std::int64_t obs_block = 128;
/// Columns of W that are multiplied at a time: the candidates are few, a tile takes them all.
constexpr std::int64_t obs_columns_at_once = 256;
/// Columns whose scores are updated at a time, while they are in the first cache.
constexpr std::int64_t obs_strip = 512;
/// Queries and keys of a tile of attention, whose scores stay in the second cache.
constexpr std::int64_t attention_queries = 64, attention_keys = 128;
/// Floats of the widest vector; divides attention_keys.
constexpr std::int64_t vector_lane = 16;
/// Columns that a thread has of a sum over rows, and rows of a weight's gradient that are held wide at a
/// time.
constexpr std::int64_t column_tile = 256, gradient_strip = 2048;
/// Elements that a thread takes at a time; sums over them are added in this order, whatever the threads.
constexpr std::int64_t piece_of_elements = 1 << 16, piece_of_adamw = 1 << 14, piece_of_heads = 256;
/// Logits that are summed before the sum is looked at, where ids are drawn.
constexpr std::int64_t piece_of_logits = 512;
/// Rows and columns of what is transposed at a time, within the first cache.
constexpr std::int64_t transposed_block = 32;

inline constexpr std::array tuning = {
    Tuning{"logit_tile", logit_tile(Device::cpu)},
    Tuning{"compared_states", static_cast<std::int64_t>(compared_states(Device::cpu))},
    Tuning{"rows_brought", rows_brought},
    Tuning{"cholesky_leaf", cholesky_leaf},
    Tuning{"obs_block", obs_block},
    Tuning{"obs_columns_at_once", obs_columns_at_once},
    Tuning{"obs_strip", obs_strip},
    Tuning{"attention_queries", attention_queries},
    Tuning{"attention_keys", attention_keys},
    Tuning{"vector_lane", vector_lane},
    Tuning{"column_tile", column_tile},
    Tuning{"gradient_strip", gradient_strip},
    Tuning{"piece_of_elements", piece_of_elements},
    Tuning{"piece_of_adamw", piece_of_adamw},
    Tuning{"piece_of_heads", piece_of_heads},
    Tuning{"piece_of_logits", piece_of_logits},
    Tuning{"transposed_block", transposed_block},
};

}  // namespace galapagos::ops::cpu
