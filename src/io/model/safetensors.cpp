#include "safetensors_format.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/io/safetensors.hpp>

namespace galapagos {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are read without swapping bytes");

constexpr std::size_t max_rank = 64;

[[noreturn]] void damaged(const std::string& what, const std::filesystem::path& path) {
  throw InputError("not a valid safetensors file: " + what, path.string(), "copy or download the file again");
}

/// Turns the header's JSON, event by event, into entries over `data`: headers may be large and a tree of
/// values many times larger.
class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> data, const std::filesystem::path& path)
      : data_(data), path_(path) {}

  std::vector<TensorEntry> entries;
  SafetensorsMetadata metadata;

  // The events of nlohmann's parser.
  using number_unsigned_t = std::uint64_t;
  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("true or false"); }
  bool number_integer(std::int64_t) { unexpected("a negative number"); }
  bool number_float(double, const std::string&) { unexpected("a fraction"); }
  bool binary(std::vector<std::uint8_t>&) { unexpected("binary data"); }

  bool number_unsigned(std::uint64_t value) {
    if (inside_ == Inside::shape) {
      if (value > INT64_MAX || entry_.shape.size() == max_rank) refuse("an impossible shape");
      entry_.shape.push_back(static_cast<std::int64_t>(value));
    } else if (inside_ == Inside::offsets && offset_count_ < 2) {
      offsets_[offset_count_++] = value;
    } else {
      unexpected("a number");
    }
    return true;
  }

  bool string(std::string& value) {
    if (inside_ == Inside::metadata) {
      if (!metadata.emplace(key_, value).second) refuse("duplicate metadata key '" + printable(key_) + "'");
    } else if (inside_ == Inside::entry && key_ == "dtype") {
      entry_.dtype = value;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool key(std::string& value) {
    switch (inside_) {
      case Inside::header:
        entry_ = {};
        entry_.name = value;
        break;
      case Inside::entry: {
        bool* seen = value == "dtype"          ? &has_dtype_
                     : value == "shape"        ? &has_shape_
                     : value == "data_offsets" ? &has_offsets_
                                               : nullptr;
        if (seen == nullptr) refuse("unknown key '" + printable(value) + "'");
        if (std::exchange(*seen, true)) refuse("duplicate key '" + value + "'");
        break;
      }
      default:
        break;
    }
    key_ = value;
    return true;
  }

  bool start_object(std::size_t) {
    if (inside_ == Inside::nothing) {
      inside_ = Inside::header;
    } else if (inside_ == Inside::header && key_ == safetensors::metadata_key) {
      if (std::exchange(has_metadata_, true)) refuse("duplicate key '__metadata__'");
      inside_ = Inside::metadata;
    } else if (inside_ == Inside::header) {
      has_dtype_ = has_shape_ = has_offsets_ = false;
      offset_count_ = 0;
      inside_ = Inside::entry;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() {
    if (inside_ == Inside::entry) finish_entry();
    inside_ = inside_ == Inside::header ? Inside::nothing : Inside::header;
    return true;
  }

  bool start_array(std::size_t) {
    if (inside_ == Inside::entry && key_ == "shape") {
      inside_ = Inside::shape;
    } else if (inside_ == Inside::entry && key_ == "data_offsets") {
      inside_ = Inside::offsets;
    } else {
      unexpected("an array");
    }
    return true;
  }

  bool end_array() {
    inside_ = Inside::entry;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) {
    damaged(std::string("its header is not JSON: ") + error.what(), path_);
  }

 private:
  enum class Inside { nothing, header, metadata, entry, shape, offsets };

  [[noreturn]] void refuse(const std::string& what) const {
    const bool of_tensor = inside_ != Inside::nothing && inside_ != Inside::metadata;
    damaged(of_tensor ? fmt::format("{} in the header of tensor '{}'", what, printable(entry_.name)) : what,
            path_);
  }
  [[noreturn]] void unexpected(const char* what) const { refuse(fmt::format("{} where none belongs", what)); }

  void finish_entry() {
    if (!has_dtype_ || !has_shape_ || !has_offsets_ || offset_count_ != 2) {
      refuse("missing dtype, shape or data_offsets");
    }
    if (!safetensors::type_rank(entry_.dtype)) refuse("unknown dtype '" + printable(entry_.dtype) + "'");
    const auto [begin, end] = offsets_;
    if (begin > end || end > data_.size()) {
      refuse(fmt::format("data_offsets [{}, {}] outside the {} bytes of data", begin, end, data_.size()));
    }
    const auto bytes = safetensors::tensor_bytes(entry_.dtype, entry_.shape);
    if (!bytes || *bytes != end - begin) {
      refuse(fmt::format("{} bytes of data for {} [{}]", end - begin, entry_.dtype,
                         fmt::join(entry_.shape, ", ")));
    }
    entry_.data = data_.subspan(begin, end - begin);
    entries.push_back(std::move(entry_));
    entry_ = {};
  }

  std::span<const std::byte> data_;
  const std::filesystem::path& path_;
  Inside inside_ = Inside::nothing;
  std::string key_;
  TensorEntry entry_;
  std::array<std::uint64_t, 2> offsets_{};
  std::size_t offset_count_ = 0;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  bool has_metadata_ = false;
};

/// The tensors must fill `data` from its first byte to its last, one after the other.
void check_contiguous(std::vector<TensorEntry>& entries, std::span<const std::byte> data,
                      const std::filesystem::path& path) {
  std::ranges::sort(entries, {},
                    [](const TensorEntry& entry) { return std::pair(entry.data.data(), entry.data.size()); });
  const std::byte* expected = data.data();
  for (const TensorEntry& entry : entries) {
    if (entry.data.data() != expected) {
      damaged(fmt::format("data of tensor '{}' {}", printable(entry.name),
                          entry.data.data() < expected ? "overlaps another's" : "starts after a hole"),
              path);
    }
    expected += entry.data.size();
  }
  const auto rest = static_cast<std::size_t>(data.data() + data.size() - expected);
  if (rest != 0) damaged(fmt::format("{} bytes after the last tensor", rest), path);
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path), file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("version https://git-lfs")) {
    throw InputError("is a Git LFS pointer, not the weights", path.string(),
                     "fetch the weights: git lfs pull");
  }
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) damaged(fmt::format("it has only {} bytes", bytes.size()), path);
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > safetensors::max_header_bytes) {
    damaged(fmt::format("a header of {} bytes, over the limit of {}", length, safetensors::max_header_bytes),
            path);
  }
  if (length > bytes.size() - sizeof length) {
    damaged(fmt::format("its header of {} bytes ends after the file, of {} bytes", length, bytes.size()),
            path);
  }
  const std::string_view header = text.substr(sizeof length, length);
  if (!header.starts_with('{')) damaged("its header does not start with '{'", path);
  // The parser would take it for the end of the text.
  if (header.find('\0') != header.npos) damaged("its header holds a zero byte", path);

  const std::span<const std::byte> data = bytes.subspan(sizeof length + length);
  HeaderReader reader(data, path);
  nlohmann::json::sax_parse(header.begin(), header.end(), &reader);
  check_contiguous(reader.entries, data, path);
  std::ranges::sort(reader.entries, {}, &TensorEntry::name);
  const auto twice = std::ranges::adjacent_find(reader.entries, {}, &TensorEntry::name);
  if (twice != reader.entries.end()) damaged("duplicate tensor '" + printable(twice->name) + "'", path);
  entries_ = std::move(reader.entries);
  metadata_ = std::move(reader.metadata);
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(entries_, name, {}, &TensorEntry::name);
  return found != entries_.end() && found->name == name ? &*found : nullptr;
}

}  // namespace galapagos
