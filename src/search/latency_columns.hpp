#pragma once

#include <array>

namespace galapagos {

/// Of a table of latencies, as its header names them.
inline constexpr std::array latency_columns = {"kind",      "heads",   "kv_heads",    "columns",
                                               "phase",     "seconds", "hidden_size", "head_dim",
                                               "precision", "device",  "batch",       "length"};

}  // namespace galapagos
