#pragma once

#include "record_source.hpp"

#include <filesystem>
#include <memory>

#include <galapagos/io/text_options.hpp>

namespace galapagos {

/// The texts of a folder of MDS shards, or records of the JSON that a column holds: in the column
/// options.text_key, or "text", or "messages", or "conversations". InputError where it has none of them.
std::unique_ptr<RecordSource> open_mds_records(const std::filesystem::path& folder,
                                               const TextOptions& options);

}  // namespace galapagos
