#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace galapagos {

class ByteStream;

/// A piece of a document, and whether a model that is trained on it alone is to learn to write it.
struct TextPart {
  std::string text;
  bool response = false;
};

/// Reads the documents of one text file one after the other, in memory of about one document: `.txt` (the
/// whole file is one document), `.jsonl` (of each line that is not blank the "text", the "prompt" and the
/// "response", or the "content" of all "messages", of which those with the "role" assistant are responses),
/// and both as `.gz` or `.zst`. No chat template is applied. Errors are InputErrors that name the file and,
/// for `.jsonl`, the line.
class DocumentReader {
 public:
  /// InputError where the file cannot be opened or its name ends in none of the above. With `responses` a
  /// document without one is refused too.
  explicit DocumentReader(const std::filesystem::path& path, bool responses = false);
  ~DocumentReader();
  DocumentReader(DocumentReader&&) noexcept;

  /// The next document, all of it one after the other; false at the end.
  bool next(std::vector<TextPart>& document);
  /// Passes over a document without looking into it; false at the end.
  bool skip();
  /// Bytes, as stored once decompressed, of the document that next() or skip() came to.
  std::uint64_t document_bytes() const { return document_bytes_; }

 private:
  bool read_record();
  bool find_record();
  bool read_line();

  std::filesystem::path path_;
  bool lines_ = false;
  bool responses_ = false;
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;  // bytes from the stream, used up to used_
  std::size_t used_ = 0;
  std::uint64_t line_ = 0;
  bool ended_ = false;
  std::uint64_t document_bytes_ = 0;
  std::string record_;  // what the document is read from: a line, or the whole file
};

}  // namespace galapagos
