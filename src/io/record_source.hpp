#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <galapagos/io/text_options.hpp>

namespace galapagos {

/// The records of one input, one after the other, in memory of about one of them.
class RecordSource {
 public:
  virtual ~RecordSource() = default;

  /// The next record as it is stored; false at the end. InputError where the input cannot be read on.
  virtual bool next(std::string& record) = 0;
  /// Whether a record is a text itself, not a JSON object that holds one.
  virtual bool plain_text() const = 0;
  /// Whether that begins like an HTML page.
  virtual bool web_page() const { return false; }
  /// Whether records are the lines of a file.
  virtual bool by_lines() const { return false; }
  /// Where the record lies that next() came to, for messages.
  virtual std::string where() const = 0;
};

/// Opens a file by its name and content, or a folder: of MDS shards, a data set that Hugging Face's datasets
/// saved, or Parquet files. InputError where it cannot be opened, is none of the kinds of DocumentReader, or
/// has no texts.
std::unique_ptr<RecordSource> open_records(const std::filesystem::path& path, const TextOptions& options);

}  // namespace galapagos
