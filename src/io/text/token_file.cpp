#include "token_format.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/mds.hpp>
#include <galapagos/io/token_file.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

fs::path with_suffix(const fs::path& prefix, const char* suffix) {
  return prefix.string() + suffix;
}

[[noreturn]] void damaged(const std::string& what, const fs::path& path) {
  throw InputError(what, path.string(), "copy or make the file again");
}

/// Element `index` of an array of T that begins `offset` bytes into the file.
template <typename T>
T load(std::span<const std::byte> bytes, std::uint64_t offset, std::uint64_t index = 0) {
  T value;
  std::memcpy(&value, bytes.data() + offset + index * sizeof(T), sizeof(T));
  return value;
}

/// Bytes of an element of an integer type of Megatron's, else 0.
int width_of(std::uint8_t type) {
  switch (type) {
    case megatron::type_u8:
    case megatron::type_i8:
      return 1;
    case megatron::type_i16:
    case megatron::type_u16:
      return 2;
    case megatron::type_i32:
      return 4;
    case megatron::type_i64:
      return 8;
    default:
      return 0;
  }
}

}  // namespace

bool is_token_file(const fs::path& path) {
  if (is_mds_folder(path)) return mds_token_column(MdsReader(path)).has_value();
  return path.extension() == ".bin" || path.extension() == ".idx" || fs::exists(with_suffix(path, ".idx"));
}

TokenFile TokenFile::open(const fs::path& path) {
  if (path.extension() == ".idx") return open_megatron(fs::path(path).replace_extension(".bin"), path);
  if (path.extension() != ".bin") {
    return open_megatron(with_suffix(path, ".bin"), with_suffix(path, ".idx"));
  }
  const fs::path idx = fs::path(path).replace_extension(".idx");
  return fs::exists(idx) ? open_megatron(path, idx) : open_llm_c(path);
}

TokenFile TokenFile::open_megatron(const fs::path& bin, const fs::path& idx) {
  const MappedFile mapped(idx);
  const auto index = mapped.bytes();
  if (index.size() < megatron::header_bytes || std::memcmp(index.data(), megatron::magic.data(), 9) != 0) {
    damaged("is not a Megatron index", idx);
  }
  if (const auto version = load<std::uint64_t>(index, 9); version != megatron::version) {
    damaged(fmt::format("is a Megatron index of version {}, not 1", version), idx);
  }
  const auto type = load<std::uint8_t>(index, 17);
  const auto sequences = load<std::uint64_t>(index, 18);
  const auto entries = load<std::uint64_t>(index, 26);
  const std::uint64_t room = index.size() - megatron::header_bytes;
  const bool counted = sequences <= room / 12 && entries <= (room - sequences * 12) / 8;
  const std::uint64_t modes = counted ? room - sequences * 12 - entries * 8 : 0;
  if (!counted || (modes != 0 && modes != sequences)) {
    damaged(fmt::format("has {} bytes, which is not right for {} sequences and {} documents", index.size(),
                        sequences, entries),
            idx);
  }
  TokenFile file(bin, MappedFile(bin));
  file.kind_ = "Megatron";
  file.bytes_per_token_ = width_of(type);
  if (file.bytes_per_token_ == 0) {
    damaged(fmt::format("holds elements of type {}, which are not token ids", type), idx);
  }
  file.signed_ = type != megatron::type_u8 && type != megatron::type_u16;
  file.read_sequences(index, sequences, idx);
  file.read_documents(index.subspan(megatron::header_bytes + sequences * 12), entries, idx);
  return file;
}

void TokenFile::read_sequences(std::span<const std::byte> index, std::uint64_t count, const fs::path& idx) {
  const std::uint64_t lengths = megatron::header_bytes;
  const std::uint64_t offsets = lengths + count * 4;
  const std::uint64_t data_bytes = data_.bytes().size();
  const auto width = static_cast<std::uint64_t>(bytes_per_token_);
  runs_.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto length = load<std::int32_t>(index, lengths, i);
    const auto offset = load<std::int64_t>(index, offsets, i);
    if (length < 0) damaged(fmt::format("sequence {} has {} tokens", i, length), idx);
    const auto tokens = static_cast<std::uint64_t>(length);
    const auto begin = static_cast<std::uint64_t>(offset);
    if (offset < 0 || begin % width != 0 || begin > data_bytes || tokens * width > data_bytes - begin) {
      damaged(fmt::format("sequence {} lies at byte {} with {} tokens, outside the {} bytes of {}", i, offset,
                          length, data_bytes, path_.filename().string()),
              idx);
    }
    runs_.push_back({begin, tokens});
    tokens_ += tokens;
  }
  if (tokens_ > data_bytes / width) damaged("sequences overlap", idx);
}

void TokenFile::read_documents(std::span<const std::byte> indices, std::uint64_t count, const fs::path& idx) {
  document_begin_.clear();
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto begin = load<std::int64_t>(indices, 0, i);
    if (begin < 0 || static_cast<std::uint64_t>(begin) < last) {
      damaged("document indices do not ascend", idx);
    }
    last = static_cast<std::uint64_t>(begin);
    document_begin_.push_back(last);
  }
  if (count == 0 || document_begin_.front() != 0 || last != runs_.size()) {
    damaged(fmt::format("document indices do not go from 0 to {}", runs_.size()), idx);
  }
}

TokenFile TokenFile::open_llm_c(const fs::path& bin) {
  TokenFile file(bin, MappedFile(bin));
  const auto bytes = file.data_.bytes();
  const auto header = [&](std::uint64_t i) { return load<std::int32_t>(bytes, 0, i); };
  const bool whole = bytes.size() >= llm_c::header_bytes;
  const std::int32_t magic = whole ? header(0) : 0;
  if (magic != llm_c::magic_u16 && magic != llm_c::magic_u32) {
    throw InputError("is not an llm.c token file, and has no Megatron .idx beside it", bin.string(),
                     "check the path, or convert the file to one of these formats");
  }
  const bool wide = magic == llm_c::magic_u32;
  if (header(1) != (wide ? llm_c::version_u32 : llm_c::version_u16)) {
    damaged(fmt::format("is an llm.c token file of unknown version {}", header(1)), bin);
  }
  file.kind_ = "llm.c";
  file.bytes_per_token_ = wide ? 4 : 2;
  const auto count = static_cast<std::uint64_t>(std::max(header(2), 0));
  const std::uint64_t size = llm_c::header_bytes + count * (wide ? 4 : 2);
  if (header(2) < 0 || bytes.size() != size) {
    damaged(fmt::format("has {} bytes, which is not right for {} tokens", bytes.size(), header(2)), bin);
  }
  file.tokens_ = count;
  file.runs_.push_back({llm_c::header_bytes, count});
  file.document_begin_.push_back(1);
  return file;
}

std::string TokenFile::description() const {
  return fmt::format("{} tokens, {} documents, {} tokens of {} bytes ({})", kind_, human_count(documents()),
                     human_count(tokens_), bytes_per_token_, path_.string());
}

std::uint64_t TokenFile::length(std::size_t document) const {
  std::uint64_t sum = 0;
  for (std::uint64_t run = document_begin_.at(document); run < document_begin_.at(document + 1); ++run) {
    sum += runs_[run].tokens;
  }
  return sum;
}

void TokenFile::read(std::size_t document, std::vector<std::int32_t>& out, std::uint64_t limit) const {
  out.clear();
  out.reserve(std::min(length(document), limit));
  for (std::uint64_t run = document_begin_.at(document); run < document_begin_.at(document + 1); ++run) {
    append(runs_[run].offset, std::min(runs_[run].tokens, limit - out.size()), out);
  }
}

void TokenFile::append(std::uint64_t offset, std::uint64_t count, std::vector<std::int32_t>& out) const {
  const auto bytes = data_.bytes();
  const auto copy = [&]<typename T>(T) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto id = static_cast<std::int64_t>(load<T>(bytes, offset, i));
      if (id < 0 || id >= INT32_MAX) damaged(fmt::format("{} is not a token id", id), path_);
      out.push_back(static_cast<std::int32_t>(id));
    }
  };
  switch (bytes_per_token_) {
    case 1:
      return signed_ ? copy(std::int8_t{}) : copy(std::uint8_t{});
    case 2:
      return signed_ ? copy(std::int16_t{}) : copy(std::uint16_t{});
    case 4:
      return signed_ ? copy(std::int32_t{}) : copy(std::uint32_t{});
    default:
      return copy(std::int64_t{});
  }
}

}  // namespace galapagos
