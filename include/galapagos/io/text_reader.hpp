#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/io/document.hpp>
#include <galapagos/io/text_options.hpp>

namespace galapagos {

class RecordSource;

/// A record without a usable text. Those after it can be read.
struct BadRecord : InputError {
  BadRecord(const std::string& what, const std::string& where, const std::string& remedy)
      : InputError(what, where, remedy), fault_(InputError(what, where, {}).what()) {}

  /// The message without what to do.
  const std::string& fault() const { return fault_; }

 private:
  std::string fault_;
};

/// Reads the documents of one text file one after the other, in memory of about one document: `.txt` (the
/// whole file is one document), `.jsonl` (a record on each line that is not blank) and `.json` (a list of
/// records, or one after the other), by the name in any case or else by the content, also compressed by gzip
/// or zstd, which the content tells. Of a record it is the text under options.text_key, or else "text", the
/// "prompt" and the "response", or "messages" ("conversations"), of which those with the "role" assistant are
/// responses, laid out by options.chat where that is given. A byte order mark in front is no text. Errors are
/// InputErrors that name the file and, but for `.txt`, the line.
class DocumentReader {
 public:
  /// InputError where the file cannot be opened or is none of the above. With `responses` a document without
  /// one is refused too.
  explicit DocumentReader(const std::filesystem::path& path, const TextOptions& options = {},
                          bool responses = false);
  ~DocumentReader();
  DocumentReader(DocumentReader&&) noexcept;

  /// The next document, valid UTF-8, all of it one after the other; false at the end. BadRecord where it has
  /// none that can be used; what comes after that can be read.
  bool next(std::vector<TextPart>& document);
  /// Passes over a document without looking into it; false at the end.
  bool skip();
  /// Whether documents come from JSON records of a text file, which may hold more.
  bool of_records() const;
  /// Such a record as it is stored once decompressed, to which next() or skip() came.
  const std::string& record() const { return record_; }
  /// Bytes, at least 1, as stored once decompressed, of the record that next() or skip() came to.
  std::uint64_t document_bytes() const { return document_bytes_; }
  /// Whether a `.txt` begins like an HTML page, as a server may give in place of a file.
  bool web_page() const;
  /// The file and the place in it of the document that next() came to.
  std::string where() const;
  /// Of the document that next() came to.
  const TextCounts& counts() const { return counts_; }

 private:
  std::filesystem::path path_;
  TextOptions options_;
  bool responses_ = false;
  std::unique_ptr<RecordSource> records_;
  std::string record_;  // what the document is read from
  std::uint64_t document_bytes_ = 0;
  TextCounts counts_;
};

}  // namespace galapagos
