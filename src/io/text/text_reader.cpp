#include "open_records.hpp"
#include "record_document.hpp"
#include "record_fault.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/io/text_reader.hpp>

namespace galapagos {
namespace {

constexpr const char* go_past = "or go on past such records with --skip-bad-lines N";

/// Whether a line is the beginning of JSON that goes over several, or a list of records.
bool is_of_larger(std::string_view line) {
  const std::size_t begin = std::min(line.find_first_not_of(" \t\xef\xbb\xbf"), line.size());
  return line.substr(begin).starts_with('[') ||
         line.find_first_not_of(" \t\r", begin + 1) == std::string_view::npos;
}

std::string remedy_of(const RecordFault& fault, bool by_lines, std::string_view record) {
  if (!fault.remedy.empty()) return fmt::format("{}, {}", fault.remedy, go_past);
  if (by_lines && is_of_larger(record))
    return fmt::format("name it .json if it is no record a line, {}", go_past);
  return fmt::format("correct the record, {}", go_past);
}

}  // namespace

DocumentReader::DocumentReader(const std::filesystem::path& path, const TextOptions& options, bool responses)
    : path_(path), options_(options), responses_(responses), records_(open_records(path, options)) {
  if (responses && records_->plain_text()) {
    throw InputError("plain text does not say what is a response", path.string(),
                     "give .jsonl with \"prompt\" and \"response\" or \"messages\", or --loss-on all");
  }
}

DocumentReader::~DocumentReader() = default;
DocumentReader::DocumentReader(DocumentReader&&) noexcept = default;

bool DocumentReader::of_records() const {
  return records_->whole_json();
}

bool DocumentReader::web_page() const {
  return records_->web_page();
}

std::string DocumentReader::where() const {
  return records_->where();
}

bool DocumentReader::next(std::vector<TextPart>& document) {
  counts_ = {};
  if (!skip()) return false;
  if (records_->plain_text()) {
    document.assign(1, {});
    document.front().text.swap(record_);
    make_valid(document.front().text, counts_);
    counts_.zeros = static_cast<std::uint64_t>(
        std::count(document.front().text.begin(), document.front().text.end(), '\0'));
    return true;
  }
  try {
    read_record_document(record_, options_, responses_, document, counts_);
    const auto is_response = [](const TextPart& part) { return part.response; };
    if (responses_ && std::none_of(document.begin(), document.end(), is_response)) {
      throw RecordFault{"no response in this record",
                        "give \"prompt\" and \"response\", or \"messages\" with one of the role assistant"};
    }
  } catch (const RecordFault& fault) {
    throw BadRecord(fault.what, records_->where(), remedy_of(fault, records_->by_lines(), record_));
  }
  return true;
}

bool DocumentReader::skip() {
  const bool found = records_->next(record_);
  document_bytes_ = std::max<std::uint64_t>(record_.size(), 1);
  return found;
}

}  // namespace galapagos
