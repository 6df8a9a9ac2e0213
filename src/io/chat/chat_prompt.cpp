#include "../text/record_fault.hpp"
#include "chat_record.hpp"

#include <galapagos/core/error.hpp>

namespace galapagos {

std::string chat_prompt(const ChatTemplate& chat, std::string_view record, const std::string& where) {
  try {
    std::vector<JsonMember> members;
    scan_object(record, members);
    const auto messages = find_member(members, "messages");
    if (!messages) throw RecordFault{"missing key 'messages'", "give a conversation"};
    TextCounts counts;
    return chat.prompt(read_conversation(*messages, members, true, counts));
  } catch (const RecordFault& fault) {
    throw InputError(fault.what, where, fault.remedy.empty() ? "correct the record" : fault.remedy);
  }
}

}  // namespace galapagos
