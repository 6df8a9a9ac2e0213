#pragma once

#include <array>

namespace galapagos {

/// Of a table of latencies, as its header names them.
inline constexpr std::array latency_columns = {"kind",      "heads",   "kv_heads",    "columns",
                                               "phase",     "seconds", "hidden_size", "head_dim",
                                               "precision", "device",  "batch",       "length"};
/// And where there are whole models: the sum of their parts, empty in other rows.
inline constexpr const char* parts_column = "parts";
/// Their kind.
inline constexpr const char* whole_kind = "whole";

}  // namespace galapagos
