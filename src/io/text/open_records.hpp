#pragma once

#include "record_source.hpp"

#include <filesystem>
#include <memory>

#include <galapagos/io/text_options.hpp>

namespace galapagos {

/// Opens a file by its name and content, or a folder: of MDS shards, a data set that Hugging Face's datasets
/// saved, or Parquet files. InputError where it cannot be opened, is none of the kinds of DocumentReader, or
/// has no texts.
std::unique_ptr<RecordSource> open_records(const std::filesystem::path& path, const TextOptions& options);

}  // namespace galapagos
