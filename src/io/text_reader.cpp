#include "record_document.hpp"
#include "record_fault.hpp"
#include "record_source.hpp"

#include <algorithm>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/io/text_reader.hpp>

namespace galapagos {
namespace {

constexpr const char* go_past = "or go on past such records with --skip-bad-lines N";

/// What can be done about a fault, with what its place suggests.
std::string remedy_of(const RecordFault& fault, bool by_lines) {
  if (!fault.remedy.empty()) return fault.remedy + ", " + go_past;
  const std::string correct =
      by_lines ? "correct the line (if the file is one list or spread over lines, name it .json), "
               : "correct the file, ";
  return correct + go_past;
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

bool DocumentReader::next(std::vector<TextPart>& document) {
  counts_ = {};
  if (!skip()) return false;
  if (records_->plain_text()) {
    document.assign(1, {});
    document.front().text.swap(record_);
    make_valid(document.front().text, counts_);
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
    throw BadRecord(fault.what, records_->where(), remedy_of(fault, records_->by_lines()));
  }
  return true;
}

bool DocumentReader::skip() {
  const bool found = records_->next(record_);
  document_bytes_ = record_.size();
  return found;
}

}  // namespace galapagos
