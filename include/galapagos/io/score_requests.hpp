#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/token_source.hpp>

namespace galapagos {

/// Sequences of which only the last tokens are scored.
struct ScoreRequests {
  TokenSet tokens;
  std::vector<std::int64_t> context;  ///< ids of each that are not scored
};

/// Reads a file of lines {"context": [1, 2], "continuation": [3]}, both with at least one id. InputError,
/// naming the line, where one is something else or longer than the model takes, an id reaches vocab_size, or
/// there are none.
ScoreRequests read_score_requests(const std::filesystem::path& path, const HfConfig& config);

}  // namespace galapagos
