#include "byte_stream.hpp"
#include "utf8.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/text_reader.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 18;

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

void check_size(std::size_t bytes, const std::string& where) {
  if (bytes <= max_text_bytes) return;
  throw InputError("a document is longer than " + human_bytes(max_text_bytes), where,
                   "cut it into several, one a line of a .jsonl file");
}

std::vector<TextPart> document_of(const Json& record, const std::string& where) {
  const auto has = [&](const char* key) { return record.is_object() && record.contains(key); };
  if (!has("text") && has("prompt"))
    return {{json_string(record, "prompt", where), false}, {json_string(record, "response", where), true}};
  if (has("text") || !has("messages")) return {{json_string(record, "text", where), false}};
  std::vector<TextPart> parts;
  if (!record["messages"].is_array())
    throw InputError("\"messages\" is no list", where,
                     "give a list of objects with \"role\" and \"content\"");
  for (const Json& message : record["messages"]) {
    const std::string role = json_string(message, "role", where);
    parts.push_back({json_string(message, "content", where), role == "assistant"});
  }
  return parts;
}

}  // namespace

DocumentReader::DocumentReader(const std::filesystem::path& path, bool responses)
    : path_(path), responses_(responses) {
  const bool compressed = path.extension() == ".gz" || path.extension() == ".zst";
  const auto kind = compressed ? path.stem().extension() : path.extension();
  if (kind != ".txt" && kind != ".jsonl") {
    throw InputError("does not end in .txt, .jsonl (also .gz or .zst), .bin or .idx", path.string(),
                     "rename or convert the file");
  }
  lines_ = kind == ".jsonl";
  if (responses && !lines_) {
    throw InputError("plain text does not say what is a response", path.string(),
                     "give .jsonl with \"prompt\" and \"response\" or \"messages\", or --loss-on all");
  }
  stream_ = ByteStream::open(path);
}

DocumentReader::~DocumentReader() = default;
DocumentReader::DocumentReader(DocumentReader&&) noexcept = default;

bool DocumentReader::next(std::vector<TextPart>& document) {
  if (!read_record()) return false;
  if (!lines_) {
    document.assign(1, {});
    document.front().text.swap(record_);
    return true;
  }
  const std::string where = fmt::format("{}, line {}", path_.string(), line_);
  const std::string& line = is_valid_utf8(record_) ? record_ : (record_ = replace_invalid_utf8(record_));
  document = document_of(parse_json(line, where), where);
  const auto is_response = [](const TextPart& part) { return part.response; };
  if (responses_ && std::none_of(document.begin(), document.end(), is_response)) {
    throw InputError("no response in this record", where,
                     "give \"prompt\" and \"response\", or \"messages\" with one of the role assistant");
  }
  return true;
}

bool DocumentReader::skip() {
  return read_record();
}

bool DocumentReader::read_record() {
  const bool found = find_record();
  document_bytes_ = record_.size();
  return found;
}

bool DocumentReader::find_record() {
  if (lines_) {
    while (read_line()) {
      if (!is_blank(record_)) return true;
    }
    return false;
  }
  if (ended_) return false;
  ended_ = true;
  record_.clear();
  for (std::size_t got = 1; got > 0;) {
    const std::size_t at = record_.size();
    check_size(at, path_.string());
    record_.resize(at + std::max(buffer_bytes, at / 2));
    got = stream_->read(std::span(record_).subspan(at));
    record_.resize(at + got);
  }
  return !record_.empty();
}

bool DocumentReader::read_line() {
  record_.clear();
  ++line_;
  while (true) {
    const char* from = buffer_.data() + used_;
    const std::size_t left = buffer_.size() - used_;
    const auto* end = left == 0 ? nullptr : static_cast<const char*>(std::memchr(from, '\n', left));
    const std::size_t taken = end == nullptr ? left : static_cast<std::size_t>(end - from);
    record_.append(from, taken);
    check_size(record_.size(), fmt::format("{}, line {}", path_.string(), line_));
    if (end != nullptr) {
      used_ += taken + 1;
      return true;
    }
    buffer_.resize(buffer_bytes);
    buffer_.resize(stream_->read(std::span(buffer_)));
    used_ = 0;
    if (buffer_.empty()) return !record_.empty();
  }
}

}  // namespace galapagos
