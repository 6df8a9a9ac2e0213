#pragma once

#include "record_source.hpp"

#include <filesystem>
#include <memory>
#include <vector>

#include <galapagos/io/text_options.hpp>

namespace galapagos {

enum class TableKind { none, parquet, arrow_file, arrow_stream };

/// What to do without Arrow.
inline constexpr const char* jsonl_of_parquet =
    "make .jsonl of it, as by: duckdb -c \"COPY (FROM 'X.parquet') TO 'X.jsonl' (FORMAT json)\"";
inline constexpr const char* jsonl_of_arrow =
    "make .jsonl of it, as by datasets' Dataset.from_file(X).to_json(Y, lines=True)";

/// By the first bytes of a file, of a Parquet file also its name or its last ones.
TableKind table_kind(const std::filesystem::path& file);

/// The files of a folder that a data set was saved in: those of its state.json (Hugging Face's datasets), or
/// all Parquet files in it by their names. Empty where there are none. InputError for a folder of several
/// splits.
std::vector<std::filesystem::path> table_files(const std::filesystem::path& folder);

/// The rows of Parquet and Arrow files, one after the other, as records in JSON with the columns that may
/// hold a text: that of options.text_key, or those that a record of .jsonl may have. InputError where they
/// have none of them, a file is damaged, or this build has no Apache Arrow.
std::unique_ptr<RecordSource> open_tables(const std::vector<std::filesystem::path>& files,
                                          const TextOptions& options);

}  // namespace galapagos
