#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// The tokens that end a text: eos_token_id, one or several, of the generation_config.json in a model's
/// folder, alone as in transformers; where that is missing or null those of config.json, or what transformers
/// takes where that says nothing either. None where there are none. InputError for what is no number; one
/// that the model does not have is passed over, with a warning.
std::vector<std::int32_t> read_end_ids(const std::filesystem::path& folder, const HfConfig& config);

}  // namespace galapagos
