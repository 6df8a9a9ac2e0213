#pragma once

#include "../text/json_scan.hpp"
#include "chat_template.hpp"

#include <string_view>
#include <vector>

namespace galapagos {

/// The conversation in a record: its messages, as written (a list of objects with "role" and "content", or
/// ShareGPT's "from" and "value"), and `for_template` the "tools" and "chat_template_kwargs" that stand
/// beside them. Adds to `counts`. Throws a RecordFault.
Conversation read_conversation(std::string_view messages, const std::vector<JsonMember>& record,
                               bool for_template, TextCounts& counts);

/// The messages' contents one after the other, with no template around them. Throws a RecordFault where one
/// is no text.
std::vector<TextPart> bare_contents(const Conversation& conversation);

}  // namespace galapagos
