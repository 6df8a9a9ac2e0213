#pragma once

#include "byte_stream.hpp"
#include "record_source.hpp"
#include "text_kind.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace galapagos {

/// A text file's records: the whole of it, its lines, or the JSON values in it, as its kind says. White space
/// between them, blank lines and a byte order mark in front are no part of any. Lines end with LF, CR LF or,
/// where the first does, with CR. What is no JSON comes as it is, for others to find.
class RecordSplitter : public RecordSource {
 public:
  explicit RecordSplitter(const std::filesystem::path& path);

  bool next(std::string& record) override;
  bool plain_text() const override { return kind_ == TextKind::whole; }
  std::string where() const override;
  bool web_page() const override { return web_page_; }
  bool whole_json() const override { return kind_ != TextKind::whole; }
  bool by_lines() const override { return kind_ == TextKind::lines; }

 private:
  bool next_whole(std::string& record);
  bool read_line(std::string& record);
  bool next_value(std::string& record);
  void take_value(std::string& record);
  void take_nested(std::string& record);
  void take_string(std::string& record);
  bool refill();
  /// The next byte, which stays; -1 at the end.
  int peek();
  void check_size(std::size_t bytes) const;

  std::filesystem::path path_;
  std::unique_ptr<ByteStream> stream_;
  TextKind kind_ = TextKind::whole;
  char line_end_ = '\n';
  std::string buffer_;  // bytes from the stream, used up to used_
  std::size_t used_ = 0;
  std::uint64_t record_ = 0;  // the last one's number, from 1
  std::uint64_t line_ = 0;    // the last one's where records are lines, else how many have ended
  std::uint64_t begun_line_ = 0;
  bool in_list_ = false;
  bool web_page_ = false;
  bool ended_ = false;
};

}  // namespace galapagos
