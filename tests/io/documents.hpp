#pragma once

#include "io/input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <string>
#include <vector>
#include <zlib.h>
#include <zstd.h>

#include <galapagos/io/text_reader.hpp>

// What tests of text files share.
namespace galapagos::test {

using Documents = std::vector<std::string>;

inline std::string gzip(const std::string& text) {
  z_stream state{};
  deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&state, text.size()) + 32, '\0');
  std::string in = text;
  state.next_in = reinterpret_cast<Bytef*>(in.data());
  state.avail_in = static_cast<uInt>(in.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

inline std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

inline std::string whole(const std::vector<TextPart>& document) {
  std::string text;
  for (const TextPart& part : document) text += part.text;
  return text;
}

inline Documents read_all(const std::filesystem::path& path, const TextOptions& options = {}) {
  DocumentReader reader(path, options);
  Documents documents;
  std::vector<TextPart> document;
  while (reader.next(document)) documents.push_back(whole(document));
  CHECK_FALSE(reader.next(document));
  CHECK_FALSE(reader.skip());
  return documents;
}

inline Documents read_text(const std::string& name, const std::string& content,
                           const TextOptions& options = {}) {
  const TemporaryFolder folder;
  write_text(folder / name, content);
  return read_all(folder / name, options);
}

inline std::string read_error(const std::string& name, const std::string& content,
                              const TextOptions& options = {}) {
  return input_error([&] { read_text(name, content, options); });
}

}  // namespace galapagos::test
