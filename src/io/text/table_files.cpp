#include "table_files.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

bool has_suffix(const fs::path& file, const char* suffix) {
  std::string found = file.extension();
  std::transform(found.begin(), found.end(), found.begin(), [](unsigned char c) { return std::tolower(c); });
  return found == suffix;
}

}  // namespace

TableKind table_kind(const fs::path& file) {
  if (!fs::is_regular_file(file)) return TableKind::none;  // what is looked at in a pipe is gone
  std::ifstream in(file, std::ios::binary);
  std::array<char, 8> bytes{};
  in.read(bytes.data(), bytes.size());
  const std::string_view head(bytes.data(), static_cast<std::size_t>(in.gcount()));
  if (head == "ARROW1\0\0"sv) return TableKind::arrow_file;
  if (head.starts_with("\xff\xff\xff\xff"sv)) return TableKind::arrow_stream;
  if (!head.starts_with("PAR1"sv)) return TableKind::none;
  if (has_suffix(file, ".parquet")) return TableKind::parquet;
  in.clear();
  in.seekg(-4, std::ios::end);
  in.read(bytes.data(), 4);
  return std::string_view(bytes.data(), 4) == "PAR1"sv ? TableKind::parquet : TableKind::none;
}

std::vector<fs::path> table_files(const fs::path& folder) {
  std::vector<fs::path> files;
  const fs::path state = folder / "state.json", splits = folder / "dataset_dict.json";
  if (fs::exists(splits)) {
    std::string names;
    const Json dict = read_json(splits);
    if (!json_absent(dict, "splits")) {
      for (const Json& split : dict["splits"])
        names += (names.empty() ? "" : ", ") + (split.is_string() ? printable(split, 40) : "?");
    }
    throw InputError("a data set of several splits", folder.string(),
                     "give the folder of one of them: " + names);
  }
  if (fs::exists(state)) {
    const Json json = read_json(state);
    if (json_absent(json, "_data_files") || !json["_data_files"].is_array())
      throw InputError("a data set's state without '_data_files'", state.string(), "save the data set again");
    for (const Json& file : json["_data_files"])
      files.push_back(folder / fs::path(json_string(file, "filename", state.string())).filename());
    return files;
  }
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (has_suffix(entry.path(), ".parquet")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

#ifndef GALAPAGOS_HAS_ARROW
std::unique_ptr<RecordSource> open_tables(const std::vector<fs::path>& files, const TextOptions&) {
  const fs::path& file = files.front();
  const bool parquet = table_kind(file) == TableKind::parquet;
  throw InputError(parquet ? "is a Parquet file, which this build without Apache Arrow cannot read"
                           : "is an Arrow file, which this build without Apache Arrow cannot read",
                   file.string(),
                   fmt::format("{}, or build with Arrow (cmake -DARROW_ROOT=DIR)",
                               parquet ? jsonl_of_parquet : jsonl_of_arrow));
}
#endif

}  // namespace galapagos
