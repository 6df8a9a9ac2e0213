#pragma once

#include <string>

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
  /// Whether records are the JSON values in a text file, with all that they hold, not rows or samples of a
  /// data set.
  virtual bool whole_json() const { return false; }
  /// Where the record lies that next() came to, for messages.
  virtual std::string where() const = 0;
};

}  // namespace galapagos
