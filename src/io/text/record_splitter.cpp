#include "record_splitter.hpp"

#include "json_scan.hpp"
#include "record_fault.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 18;

bool is_space(int c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

/// CR where the first line ends with that alone and a record follows.
char line_end_of(std::string_view text) {
  for (std::size_t at = 0;
       (at = text.find_first_of("\r\n", at)) != std::string_view::npos && text[at] == '\r'; ++at) {
    const std::size_t next = text.find_first_not_of(" \t\r", at);
    if (next != std::string_view::npos && text[next] == '{') return '\r';
  }
  return '\n';
}

/// Whether a line that is no object by itself is the beginning of one that goes over several.
bool begins_object(std::string_view line) {
  const std::size_t last = line.find_last_not_of(" \t\r");
  return last != std::string_view::npos && std::strchr("{[,:", line[last]) != nullptr;
}

/// Whether one of the first lines is an object by itself, and not within another.
bool has_record_lines(std::string_view text, char line_end) {
  std::vector<JsonMember> members;
  for (int line = 0; line < 20; ++line) {
    const std::size_t end = text.find(line_end);
    if (end == std::string_view::npos) return false;
    if (text.starts_with('{')) {
      try {
        scan_object(text.substr(0, end), members);
        return true;
      } catch (const RecordFault&) {
        if (begins_object(text.substr(0, end))) return false;
      }
    }
    text.remove_prefix(end + 1);
  }
  return false;
}

}  // namespace

RecordSplitter::RecordSplitter(const std::filesystem::path& path)
    : path_(path), stream_(ByteStream::open(path)) {
  refill();
  const std::string_view head = buffer_;
  kind_ = text_kind(path, head.substr(0, text_head_bytes));
  web_page_ = is_web_page(head);
  if (named_compressed(path) && !stream_->decompresses() && !head.empty()) {
    throw InputError("is not compressed, although its name says so", path.string(),
                     "get the file again, or give it a name without .gz or .zst");
  }
  if (head.starts_with("\xef\xbb\xbf")) used_ = 3;
  line_end_ = line_end_of(head.substr(used_));
  const std::string_view text = head.substr(used_);
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  const bool list = begin != std::string_view::npos && text[begin] == '[';
  if (kind_ == TextKind::json && !list && has_record_lines(text, line_end_)) kind_ = TextKind::lines;
}

bool RecordSplitter::next(std::string& record) {
  record.clear();
  ++record_;
  if (kind_ == TextKind::whole) return next_whole(record);
  if (kind_ == TextKind::json) return next_value(record);
  do {
    if (!read_line(record)) return false;
  } while (is_blank(record));
  return true;
}

std::string RecordSplitter::where() const {
  if (kind_ == TextKind::whole) return path_.string();
  if (kind_ == TextKind::lines) return fmt::format("{}, line {}", path_.string(), line_);
  return fmt::format("{}, record {}, line {}", path_.string(), record_, begun_line_);
}

void RecordSplitter::check_size(std::size_t bytes) const {
  if (bytes <= max_text_bytes) return;
  throw InputError("a document is longer than " + human_bytes(max_text_bytes), where(),
                   "cut it into several, one a line of a .jsonl file");
}

bool RecordSplitter::refill() {
  buffer_.resize(buffer_bytes);
  buffer_.resize(stream_->read(std::span(buffer_)));
  used_ = 0;
  return !buffer_.empty();
}

int RecordSplitter::peek() {
  if (used_ == buffer_.size() && !refill()) return -1;
  return static_cast<unsigned char>(buffer_[used_]);
}

bool RecordSplitter::next_whole(std::string& record) {
  if (ended_) return false;
  ended_ = true;
  record.assign(buffer_, used_);
  for (std::size_t got = 1; got > 0;) {
    const std::size_t at = record.size();
    check_size(at);
    record.resize(at + std::max(buffer_bytes, at / 2));
    got = stream_->read(std::span(record).subspan(at));
    record.resize(at + got);
  }
  return !record.empty();
}

bool RecordSplitter::read_line(std::string& record) {
  record.clear();
  ++line_;
  while (true) {
    const char* from = buffer_.data() + used_;
    const std::size_t left = buffer_.size() - used_;
    const auto* end = left == 0 ? nullptr : static_cast<const char*>(std::memchr(from, line_end_, left));
    const std::size_t taken = end == nullptr ? left : static_cast<std::size_t>(end - from);
    record.append(from, taken);
    check_size(record.size());
    if (end != nullptr) {
      used_ += taken + 1;
      return true;
    }
    if (!refill()) return !record.empty();
  }
}

bool RecordSplitter::next_value(std::string& record) {
  while (true) {
    const int c = peek();
    if (c < 0) {
      begun_line_ = line_ + 1;
      return std::exchange(in_list_, false);  // of a list that is cut short an empty record tells
    }
    if (c == '\n') ++line_;
    const bool of_list = in_list_ ? c == ',' || c == ']' : c == '[';
    if (!of_list && !is_space(c)) break;
    if (of_list && c != ',') in_list_ = !in_list_;
    ++used_;
  }
  begun_line_ = line_ + 1;
  take_value(record);
  return true;
}

/// To its end, or that of the file.
void RecordSplitter::take_value(std::string& record) {
  const auto is_of_value = [&] {
    const int c = peek();
    return c >= 0 && !is_space(c) && std::strchr(",[]{}\"", c) == nullptr;
  };
  const auto take = [&] { record += buffer_[used_++]; };
  if (peek() == '{' || peek() == '[') return take_nested(record);
  if (peek() == '"') return take_string(record);
  do take();
  while (is_of_value());
}

void RecordSplitter::take_nested(std::string& record) {
  static constexpr auto is_mark = [] {
    std::array<bool, 256> marks{};
    for (const char mark : {'"', '{', '}', '[', ']', '\n'}) marks[static_cast<unsigned char>(mark)] = true;
    return marks;
  }();
  std::size_t depth = 0;
  do {
    if (peek() < 0) return;
    std::size_t at = used_;
    while (at < buffer_.size() && !is_mark[static_cast<unsigned char>(buffer_[at])]) ++at;
    record.append(buffer_, used_, at - used_);
    check_size(record.size());
    used_ = at;
    if (at == buffer_.size()) continue;
    const char c = buffer_[at];
    if (c == '"') {
      take_string(record);
      continue;
    }
    record += c;
    ++used_;
    if (c == '\n') ++line_;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
  } while (depth > 0);
}

/// To behind the first quote before which there is an even number of backslashes.
void RecordSplitter::take_string(std::string& record) {
  record += buffer_[used_++];
  const std::size_t begin = record.size();
  while (peek() >= 0) {
    const std::size_t quote = buffer_.find('"', used_), end = std::min(quote, buffer_.size() - 1) + 1;
    record.append(buffer_, used_, end - used_);
    check_size(record.size());
    used_ = end;
    if (quote == std::string::npos) continue;
    std::size_t slashes = 0;
    while (record.size() - 1 - slashes > begin && record[record.size() - 2 - slashes] == '\\') ++slashes;
    if (slashes % 2 == 0) return;
  }
}

}  // namespace galapagos
