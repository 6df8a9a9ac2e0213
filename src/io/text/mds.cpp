#include "byte_stream.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/mds.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void damaged(const std::string& what, const fs::path& path) {
  throw InputError(what, path.string(), "copy or make the file again");
}

/// A path of the index, which must stay in its folder.
fs::path inside(const fs::path& folder, const Json& file, const std::string& where) {
  const fs::path name = json_string(file, "basename", where);
  const bool leaves = name.is_absolute() || std::find(name.begin(), name.end(), fs::path("..")) != name.end();
  if (leaves || name.empty())
    throw InputError("a shard outside the folder: " + printable(name.string()), where, "correct the index");
  return folder / name;
}

const Json& list_of(const Json& object, const char* key, const std::string& where) {
  if (json_absent(object, key) || !object[key].is_array())
    throw InputError(fmt::format("'{}' is no list", key), where, "make the shards again");
  return object[key];
}

std::vector<MdsColumn> columns_of(const Json& shard, const std::string& where) {
  const Json &names = list_of(shard, "column_names", where),
             &encodings = list_of(shard, "column_encodings", where),
             &sizes = list_of(shard, "column_sizes", where);
  std::vector<MdsColumn> columns;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool whole = i < encodings.size() && i < sizes.size() && names[i].is_string() &&
                       encodings[i].is_string() && (sizes[i].is_null() || sizes[i].is_number_unsigned());
    if (!whole)
      throw InputError("a shard's columns are not named, or have no encoding or size", where,
                       "make the shards again");
    columns.push_back({names[i], encodings[i], sizes[i].is_null() ? 0 : sizes[i].get<std::uint64_t>()});
  }
  return columns;
}

bool same(const std::vector<MdsColumn>& a, const std::vector<MdsColumn>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const MdsColumn& x, const MdsColumn& y) {
    return x.name == y.name && x.encoding == y.encoding && x.size == y.size;
  });
}

bool is_readable(const std::string& compression) {
  const std::string kind = compression.substr(0, compression.find(':'));
  return kind == "zstd" || kind == "gz";
}

}  // namespace

bool is_mds_folder(const fs::path& path) {
  const fs::path index = path / "index.json";
  if (!fs::is_directory(path) || !fs::exists(index)) return false;
  const Json json = read_json(index);
  return json.is_object() && json.contains("shards");
}

MdsReader::MdsReader(const fs::path& folder) : folder_(folder) {
  const std::string where = (folder / "index.json").string();
  const Json index = read_json(where);
  if (const auto version = json_integer(index, "version", 0, INT32_MAX, where); version != 2)
    throw InputError(fmt::format("is an MDS index of version {}, not 2", version), where,
                     "make the shards again");
  for (const Json& shard : list_of(index, "shards", where)) {
    if (const std::string format = json_string(shard, "format", where); format != "mds")
      throw InputError("shards of the format '" + printable(format, 20) + "', not mds", where,
                       "write them by MDSWriter");
    const auto columns = columns_of(shard, where);
    if (!shards_.empty() && !same(columns, columns_))
      throw InputError("the shards differ in their columns", where, "give folders with shards of one kind");
    columns_ = columns;
    Shard file;
    const Json raw = json_absent(shard, "raw_data") ? Json() : shard["raw_data"];
    file.raw = inside(folder, raw, where);
    file.bytes = static_cast<std::uint64_t>(json_integer(raw, "bytes", 0, UINT32_MAX, where));
    file.samples = static_cast<std::uint64_t>(json_integer(shard, "samples", 0, UINT32_MAX, where));
    if (!json_absent(shard, "zip_data")) {
      const std::string compression = json_string(shard, "compression", where);
      file.compressed = inside(folder, shard["zip_data"], where);
      if (!is_readable(compression) && !fs::exists(file.raw))
        throw InputError("shards compressed by '" + printable(compression, 20) + "'", where,
                         "write them with compression='zstd', 'gz' or none");
    }
    samples_ += file.samples;
    shards_.push_back(std::move(file));
  }
}

std::optional<std::size_t> MdsReader::find(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    const auto at = std::find_if(columns_.begin(), columns_.end(),
                                 [&](const auto& column) { return column.name == name; });
    if (at != columns_.end()) return static_cast<std::size_t>(at - columns_.begin());
  }
  return std::nullopt;
}

std::string MdsReader::where() const {
  const Shard& shard = shards_[shard_ - 1];
  return fmt::format("{}, sample {}", shard.raw.string(), sample_);
}

std::uint32_t MdsReader::number(std::uint64_t offset) const {
  std::uint32_t value = 0;
  std::memcpy(&value, data_.data() + offset, 4);
  return value;
}

void MdsReader::load(const Shard& shard) {
  const fs::path& path = fs::exists(shard.raw) || shard.compressed.empty() ? shard.raw : shard.compressed;
  if (!fs::exists(path))
    throw InputError("a shard that the index names is missing", path.string(), "copy the whole folder");
  // An index may promise anything: memory follows what comes.
  constexpr std::uint64_t piece = 1 << 20;
  const auto stream = ByteStream::open(path);
  data_.clear();
  std::size_t got = 0;
  while (got == data_.size() && got <= shard.bytes) {
    data_.resize(std::min(shard.bytes + 1, std::max(piece, std::uint64_t{2} * got)));
    got += stream->read(std::span(data_).subspan(got));
  }
  if (got != shard.bytes)
    damaged(fmt::format("a shard of {} bytes where the index says {}",
                        got > shard.bytes ? "more" : std::to_string(got), shard.bytes),
            path);
  data_.resize(got);
  const std::uint64_t table = 4 * (shard.samples + 2);
  if (shard.bytes < table || number(0) != shard.samples)
    damaged("a shard with another number of samples than the index says", path);
  for (std::uint64_t i = 0; i <= shard.samples; ++i) {
    const std::uint64_t begin = number(4 * (i + 1)), before = i == 0 ? table : number(4 * i);
    if (begin < before || begin > shard.bytes) damaged("a shard whose samples do not lie in it", path);
  }
}

bool MdsReader::next() {
  while (shard_ == 0 || sample_ == shards_[shard_ - 1].samples) {
    if (shard_ == shards_.size()) return false;
    load(shards_[shard_++]);
    sample_ = 0;
  }
  const std::uint64_t begin = number(4 * (sample_ + 1)), end = number(4 * (sample_ + 2));
  ++sample_;
  cut_sample(std::string_view(data_).substr(begin, end - begin));
  return true;
}

void MdsReader::cut_sample(std::string_view sample) {
  values_.clear();
  const auto short_sample = [&] { damaged("a sample shorter than its columns", where()); };
  std::uint64_t sizes_at = 0, at = 0;
  for (const MdsColumn& column : columns_) at += column.size == 0 ? 4 : 0;
  for (const MdsColumn& column : columns_) {
    std::uint64_t size = column.size;
    if (size == 0) {
      if (sizes_at + 4 > sample.size()) short_sample();
      std::uint32_t told = 0;
      std::memcpy(&told, sample.data() + sizes_at, 4);
      sizes_at += 4;
      size = told;
    }
    if (at > sample.size() || size > sample.size() - at) short_sample();
    values_.push_back(sample.substr(at, size));
    at += size;
  }
}

}  // namespace galapagos
