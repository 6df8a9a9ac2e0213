#include "zip_archive.hpp"

#include "little_endian.hpp"
#include "zip_format.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

// Stored entries alone, read where the file is mapped: no library is needed for that, and none that
// decompresses is shown a stranger's file.
namespace galapagos::torch_format {
namespace {

const std::string again = "copy or download the file again";

[[noreturn]] void damaged(const std::string& what, const std::string& where) {
  throw InputError("a damaged zip archive: " + what, where, again);
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What a central entry says of sizes and place, with 64 bits where they lie in an extra field.
struct Extent {
  std::uint64_t size, stored, local;
};

Extent extent_of(std::span<const std::byte> head, std::span<const std::byte> extra,
                 const std::string& where) {
  Extent extent{*number_at<std::uint32_t>(head, 24), *number_at<std::uint32_t>(head, 20),
                *number_at<std::uint32_t>(head, 42)};
  for (std::size_t at = 0; at + 4 <= extra.size();) {
    const auto kind = *number_at<std::uint16_t>(extra, at);
    const std::size_t length = *number_at<std::uint16_t>(extra, at + 2);
    if (extra.size() - at - 4 < length) damaged("an extra field that is cut off", where);
    const auto field = extra.subspan(at + 4, length);
    at += 4 + length;
    if (kind != wide_field) continue;
    std::size_t next = 0;
    for (std::uint64_t* number : std::array{&extent.size, &extent.stored, &extent.local}) {
      if (*number != elsewhere32) continue;
      const auto wide = number_at<std::uint64_t>(field, next);
      if (!wide) damaged("an extra field that is too short", where);
      *number = *wide;
      next += sizeof *wide;
    }
  }
  return extent;
}

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string where)
    : bytes_(bytes), where_(std::move(where)) {
  const Directory directory = find_directory();
  if (directory.begin > bytes_.size() || bytes_.size() - directory.begin < directory.bytes)
    damaged("its directory lies beyond its end", where_);
  const std::size_t end = directory.begin + directory.bytes;
  std::size_t at = directory.begin;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    if (at >= end) damaged("its directory is cut off", where_);
    at = take_entry(at, directory);
  }
  if (at != end) damaged("its directory has another length than it says", where_);
  if (taken_ > directory.begin) damaged("entries that overlap", where_);
}

std::size_t ZipArchive::find_end() const {
  if (bytes_.size() < end_bytes) damaged(fmt::format("only {} bytes", bytes_.size()), where_);
  const std::size_t last = bytes_.size() - end_bytes;
  for (std::size_t comment = 0; comment <= std::min<std::size_t>(last, 0xffff); ++comment) {
    const std::size_t at = last - comment;
    if (number_at<std::uint32_t>(bytes_, at) == end_signature &&
        number_at<std::uint16_t>(bytes_, at + 20) == comment)
      return at;
  }
  damaged("no end, as where a file is cut off", where_);
}

ZipArchive::Directory ZipArchive::find_directory() const {
  const std::size_t end = find_end();
  const auto disk = *number_at<std::uint16_t>(bytes_, end + 4);
  if (disk != 0 && disk != elsewhere16) damaged("in several parts", where_);
  if (end >= wide_locator_bytes &&
      number_at<std::uint32_t>(bytes_, end - wide_locator_bytes) == wide_locator_signature)
    return wide_directory(*number_at<std::uint64_t>(bytes_, end - wide_locator_bytes + 8));
  return {*number_at<std::uint16_t>(bytes_, end + 10), *number_at<std::uint32_t>(bytes_, end + 16),
          *number_at<std::uint32_t>(bytes_, end + 12)};
}

ZipArchive::Directory ZipArchive::wide_directory(std::uint64_t end) const {
  if (bytes_.size() < wide_end_bytes || end > bytes_.size() - wide_end_bytes ||
      number_at<std::uint32_t>(bytes_, end) != wide_end_signature)
    damaged("its end of 64 bits is missing", where_);
  return {*number_at<std::uint64_t>(bytes_, end + 32), *number_at<std::uint64_t>(bytes_, end + 48),
          *number_at<std::uint64_t>(bytes_, end + 40)};
}

std::size_t ZipArchive::take_entry(std::size_t at, const Directory& directory) {
  const auto left = bytes_.subspan(at, directory.begin + directory.bytes - at);
  if (left.size() < central_bytes || number_at<std::uint32_t>(left, 0) != central_signature)
    damaged("its directory is cut off", where_);
  const std::size_t name_length = *number_at<std::uint16_t>(left, 28);
  const std::size_t extra_length = *number_at<std::uint16_t>(left, 30);
  const std::size_t length = central_bytes + name_length + extra_length + *number_at<std::uint16_t>(left, 32);
  if (left.size() < length) damaged("its directory is cut off", where_);
  const std::string name = text_of(left.subspan(central_bytes, name_length));
  const std::string inside = where_ + ", " + printable(name);
  const auto flags = *number_at<std::uint16_t>(left, 8), method = *number_at<std::uint16_t>(left, 10);
  if ((flags & 1) != 0) throw InputError("an encrypted entry", inside, "save it with torch.save");
  if (method != 0) throw InputError("a compressed entry", inside, "save it with torch.save, which stores");
  const Extent extent = extent_of(left, left.subspan(central_bytes + name_length, extra_length), inside);
  if (extent.size != extent.stored) damaged("stored, but of two sizes", inside);
  const ZipEntry entry{stored_data(extent.local, name, extent.size, directory),
                       *number_at<std::uint32_t>(left, 16)};
  if (!entries_.emplace(name, entry).second) damaged("two entries of this name", inside);
  return at + length;
}

std::span<const std::byte> ZipArchive::stored_data(std::uint64_t local, const std::string& name,
                                                   std::uint64_t size, const Directory& directory) {
  const auto before = bytes_.first(directory.begin);  // no entry lies behind the directory
  const std::string inside = where_ + ", " + printable(name);
  if (local > before.size() || before.size() - local < local_bytes ||
      number_at<std::uint32_t>(before, local) != local_signature)
    damaged("no entry where the directory says", inside);
  const std::size_t name_length = *number_at<std::uint16_t>(before, local + 26);
  const std::uint64_t skipped = local_bytes + name_length + *number_at<std::uint16_t>(before, local + 28);
  if (before.size() - local < skipped || before.size() - local - skipped < size)
    damaged("it goes beyond the file's end", inside);
  if (text_of(before.subspan(local + local_bytes, name_length)) != name)
    damaged("another name than the directory's", inside);
  taken_ += skipped + size;
  return before.subspan(local + skipped, size);
}

std::span<const std::byte> ZipArchive::read(const std::string& name) const {
  const auto found = entries_.find(name);
  const std::string inside = where_ + ", " + printable(name);
  if (found == entries_.end()) damaged("there is no such entry", inside);
  if (crc_of(found->second.data) != found->second.crc) damaged("the checksum does not fit", inside);
  return found->second.data;
}

}  // namespace galapagos::torch_format
