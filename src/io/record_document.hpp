#pragma once

#include "json_scan.hpp"

#include <string_view>
#include <vector>

#include <galapagos/io/document.hpp>
#include <galapagos/io/text_options.hpp>

namespace galapagos {

/// The document in a record, an object as written in JSON: under options.text_key, or else its "text", its
/// "prompt" and "response", or the "content" of all its "messages". Adds to `counts`. Throws RecordFault.
void read_record_document(std::string_view record, const TextOptions& options,
                          std::vector<TextPart>& document, TextCounts& counts);

}  // namespace galapagos
