#include "token_writer.hpp"

#include "token_format.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>

namespace galapagos {
namespace {

constexpr std::size_t chunk = std::size_t{1} << 16;  // documents at a time

template <typename T>
void write_values(FileDescriptor& file, const std::vector<T>& values, std::uint64_t& at) {
  file.write_at(std::as_bytes(std::span(values)), at);
  at += values.size() * sizeof(T);
}

}  // namespace

int megatron_token_bytes(std::int32_t vocab_size) {
  return vocab_size < megatron::u16_vocabulary ? 2 : 4;
}

std::vector<std::byte> pack_tokens(std::span<const std::int32_t> tokens, int bytes_per_token) {
  const auto width = static_cast<std::size_t>(bytes_per_token);
  std::vector<std::byte> bytes(tokens.size() * width);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::memcpy(bytes.data() + i * width, &tokens[i], width);  // little-endian: the low bytes come first
  }
  return bytes;
}

IndexWriter::IndexWriter(const std::filesystem::path& part, int bytes_per_token)
    : path_(part), file_(part, O_RDWR | O_CREAT | O_TRUNC), bytes_per_token_(bytes_per_token) {}

void IndexWriter::append(std::span<const std::uint32_t> lengths) {
  file_.write_at(std::as_bytes(lengths), megatron::header_bytes + documents_ * 4);
  documents_ += lengths.size();
}

void IndexWriter::finish() {
  const MappedFile written(path_);
  std::uint64_t at = megatron::header_bytes + documents_ * 4;
  std::vector<std::int64_t> values;
  std::int64_t offset = 0;
  for (std::uint64_t first = 0; first < documents_; first += chunk) {
    values.clear();
    for (std::uint64_t i = first; i < std::min(first + chunk, documents_); ++i) {
      std::uint32_t length = 0;
      std::memcpy(&length, written.bytes().data() + megatron::header_bytes + i * 4, 4);
      values.push_back(offset);
      offset += static_cast<std::int64_t>(length) * bytes_per_token_;
    }
    write_values(file_, values, at);
  }
  for (std::uint64_t first = 0; first <= documents_; first += chunk) {
    values.clear();
    for (std::uint64_t i = first; i < std::min(first + chunk, documents_ + 1); ++i) {
      values.push_back(static_cast<std::int64_t>(i));
    }
    write_values(file_, values, at);
  }
  std::vector<char> header(megatron::header_bytes);
  const std::uint64_t entries = documents_ + 1;
  std::memcpy(header.data(), megatron::magic.data(), megatron::magic.size());
  std::memcpy(header.data() + 9, &megatron::version, 8);
  header[17] = static_cast<char>(bytes_per_token_ == 2 ? megatron::type_u16 : megatron::type_i32);
  std::memcpy(header.data() + 18, &documents_, 8);
  std::memcpy(header.data() + 26, &entries, 8);
  std::uint64_t start = 0;
  write_values(file_, header, start);
}

}  // namespace galapagos
