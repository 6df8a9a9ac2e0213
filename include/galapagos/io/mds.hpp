#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos {

/// Whether a path is a folder of MosaicML's shards (MDS): it holds an index.json that lists some.
bool is_mds_folder(const std::filesystem::path& path);

struct MdsColumn {
  std::string name;
  std::string encoding;    ///< as "str" or "ndarray:int32"
  std::uint64_t size = 0;  ///< bytes of each value; 0: told with it
};

/// The samples of a folder of MDS shards, one after the other, in memory of one shard: raw ones, or
/// compressed by gzip or zstd. InputErrors name the shard.
class MdsReader {
 public:
  /// InputError where the index is not one of MDS of version 2, its shards differ in their columns, or one is
  /// compressed otherwise.
  explicit MdsReader(const std::filesystem::path& folder);

  const std::vector<MdsColumn>& columns() const { return columns_; }
  /// The first of these names that a column has; nothing where none has.
  std::optional<std::size_t> find(const std::vector<std::string>& names) const;
  std::uint64_t samples() const { return samples_; }
  std::size_t shards() const { return shards_.size(); }

  /// Comes to the next sample; false at the end. InputError where a shard is missing or damaged.
  bool next();
  /// A column's value of this sample, as stored; it stays until next() is called.
  std::string_view value(std::size_t column) const { return values_[column]; }
  /// Where this sample lies, for messages.
  std::string where() const;

 private:
  struct Shard {
    std::filesystem::path raw, compressed;  ///< the latter empty where there is none
    std::uint64_t bytes = 0, samples = 0;
  };

  void load(const Shard& shard);
  void cut_sample(std::string_view sample);
  std::uint32_t number(std::uint64_t offset) const;

  std::filesystem::path folder_;
  std::vector<MdsColumn> columns_;
  std::vector<Shard> shards_;
  std::uint64_t samples_ = 0;
  std::size_t shard_ = 0;     // the next one to load
  std::uint64_t sample_ = 0;  // the next one in data_
  std::string data_;
  std::vector<std::string_view> values_;
};

/// The column of a folder of MDS shards that holds token ids; nothing where none does.
std::optional<std::size_t> mds_token_column(const MdsReader& reader);

/// Replaces `ids` by those of a value in such a column. InputError where it is damaged, has a type that is
/// not of integers, or an id is negative or above 2^31 - 2.
void read_mds_tokens(const MdsReader& reader, std::size_t column, std::vector<std::int32_t>& ids);

}  // namespace galapagos
