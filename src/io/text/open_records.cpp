#include "open_records.hpp"

#include "mds_records.hpp"
#include "record_splitter.hpp"
#include "table_files.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/io/hub_names.hpp>
#include <galapagos/io/mds.hpp>

namespace galapagos {

std::unique_ptr<RecordSource> open_records(const std::filesystem::path& path, const TextOptions& options) {
  if (!std::filesystem::exists(path))
    throw InputError("no such file", path.string(), remedy_for_missing_text(path.string()));
  if (std::filesystem::is_directory(path)) {
    if (is_mds_folder(path)) return open_mds_records(path, options);
    const auto files = table_files(path);
    if (!files.empty()) return open_tables(files, options);
    throw InputError(
        "is a folder without index.json (MDS shards), state.json (a saved data set) or .parquet files",
        path.string(), "give files, or the folder of one split");
  }
  if (table_kind(path) != TableKind::none) return open_tables({path}, options);
  return std::make_unique<RecordSplitter>(path);
}

}  // namespace galapagos
