#pragma once

#include "json_scan.hpp"

#include <string_view>
#include <vector>

#include <galapagos/io/document.hpp>
#include <galapagos/io/text_options.hpp>

namespace galapagos {

/// The document in a record, an object as written in JSON: under options.text_key, or else its "text", its
/// "prompt" and "response", or its "messages" or "conversations", laid out by options.chat, where that is
/// given, else their contents; with `responses` cut where those begin and end. Adds to `counts`. Throws
/// RecordFault.
void read_record_document(std::string_view record, const TextOptions& options, bool responses,
                          std::vector<TextPart>& document, TextCounts& counts);

}  // namespace galapagos
