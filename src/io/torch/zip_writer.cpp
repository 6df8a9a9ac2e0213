#include "zip_writer.hpp"

#include "little_endian.hpp"
#include "zip_format.hpp"

#include <algorithm>
#include <cstdint>
#include <fcntl.h>

#include <galapagos/core/file.hpp>

namespace galapagos::torch_format {
namespace {

constexpr std::uint64_t alignment = 64;
constexpr std::uint16_t version = 45;                // that knows numbers of 64 bits
constexpr std::uint16_t utf8_names = 1 << 11;        // a flag
constexpr std::uint16_t first_of_1980 = 1 << 5 | 1;  // there is no earlier day
constexpr std::uint16_t padding_field = 0x4246;      // "FB", as torch names it

/// What local and central headers have in common, from the version that is needed on. Sizes are always those
/// of 64 bits, as torch writes them: there is one form.
std::string common(const NewEntry& entry, std::uint32_t crc, std::size_t extra) {
  std::string text;
  append<std::uint16_t>(text, version);
  append<std::uint16_t>(text, utf8_names);
  append<std::uint16_t>(text, 0);  // stored
  append<std::uint16_t>(text, 0);  // at midnight
  append<std::uint16_t>(text, first_of_1980);
  append<std::uint32_t>(text, crc);
  append<std::uint32_t>(text, elsewhere32);
  append<std::uint32_t>(text, elsewhere32);
  append<std::uint16_t>(text, static_cast<std::uint16_t>(entry.name.size()));
  append<std::uint16_t>(text, static_cast<std::uint16_t>(extra));
  return text;
}

std::string wide_sizes(std::uint64_t size) {
  std::string text;
  append<std::uint16_t>(text, wide_field);
  append<std::uint16_t>(text, 2 * sizeof size);
  append<std::uint64_t>(text, size);
  append<std::uint64_t>(text, size);
  return text;
}

std::string local_header(const NewEntry& entry, std::uint32_t crc, std::uint64_t at) {
  std::string extra = wide_sizes(entry.data.size());
  const std::uint64_t begin = at + local_bytes + entry.name.size() + extra.size() + 4;
  const std::uint64_t padding = (alignment - begin % alignment) % alignment;
  append<std::uint16_t>(extra, padding_field);
  append<std::uint16_t>(extra, static_cast<std::uint16_t>(padding));
  extra.append(padding, 'Z');
  std::string text;
  append<std::uint32_t>(text, local_signature);
  return text + common(entry, crc, extra.size()) + entry.name + extra;
}

std::string central_header(const NewEntry& entry, std::uint32_t crc, std::uint64_t at) {
  std::string extra = wide_sizes(entry.data.size());
  append<std::uint64_t>(extra, at);
  extra[2] = 3 * sizeof at;
  std::string text;
  append<std::uint32_t>(text, central_signature);
  append<std::uint16_t>(text, version);
  text += common(entry, crc, extra.size());
  text.append(10, '\0');  // comment, disk and attributes
  append<std::uint32_t>(text, elsewhere32);
  return text + entry.name + extra;
}

std::string end_of(std::uint64_t entries, std::uint64_t begin, std::uint64_t bytes) {
  std::string text;
  append<std::uint32_t>(text, wide_end_signature);
  append<std::uint64_t>(text, wide_end_bytes - 12);
  append<std::uint16_t>(text, version);
  append<std::uint16_t>(text, version);
  append<std::uint64_t>(text, 0);  // disks
  append<std::uint64_t>(text, entries);
  append<std::uint64_t>(text, entries);
  append<std::uint64_t>(text, bytes);
  append<std::uint64_t>(text, begin);
  append<std::uint32_t>(text, wide_locator_signature);
  append<std::uint32_t>(text, 0);
  append<std::uint64_t>(text, begin + bytes);
  append<std::uint32_t>(text, 1);
  append<std::uint32_t>(text, end_signature);
  append<std::uint32_t>(text, 0);
  const auto few = static_cast<std::uint16_t>(std::min<std::uint64_t>(entries, elsewhere16));
  append<std::uint16_t>(text, few);
  append<std::uint16_t>(text, few);
  append<std::uint32_t>(text, static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, elsewhere32)));
  append<std::uint32_t>(text, static_cast<std::uint32_t>(std::min<std::uint64_t>(begin, elsewhere32)));
  append<std::uint16_t>(text, 0);
  return text;
}

}  // namespace

void write_zip(const std::filesystem::path& path, std::span<const NewEntry> entries) {
  {
    FileDescriptor file(part_path(path), O_WRONLY | O_CREAT | O_TRUNC);
    std::string directory;
    std::uint64_t at = 0;
    const auto write = [&](std::span<const std::byte> bytes) {
      file.write_at(bytes, at);
      at += bytes.size();
    };
    const auto write_text = [&](const std::string& text) { write(std::as_bytes(std::span(text))); };
    for (const NewEntry& entry : entries) {
      const std::uint32_t crc = crc_of(entry.data);
      directory += central_header(entry, crc, at);
      write_text(local_header(entry, crc, at));
      write(entry.data);
    }
    const std::uint64_t begin = at;
    write_text(directory);
    write_text(end_of(entries.size(), begin, directory.size()));
  }
  publish_file(part_path(path), path);
}

}  // namespace galapagos::torch_format
