#include "chat_record.hpp"

#include "record_fault.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::Value;

constexpr int deepest = 64;

Value number_of(std::string_view written) {
  const std::string text(written);
  char* end = nullptr;
  errno = 0;
  const long long integer = std::strtoll(text.c_str(), &end, 10);
  if (*end == '\0' && errno == 0) return static_cast<std::int64_t>(integer);
  const double real = std::strtod(text.c_str(), &end);
  if (*end != '\0') throw RecordFault{"'" + printable(text, 40) + "' in a message is no JSON", {}};
  return real;
}

/// A JSON value as written, made one of a template.
Value value_of(std::string_view written, TextCounts& counts, int depth = 0) {
  if (depth > deepest) throw RecordFault{"a message is nested too deeply", {}};
  if (written.starts_with('"')) return decode_json_string(written.substr(1, written.size() - 2), counts);
  if (written.starts_with('[')) {
    std::vector<std::string_view> elements;
    scan_array(written, elements);
    List list;
    for (const std::string_view element : elements) list.push_back(value_of(element, counts, depth + 1));
    return list;
  }
  if (written.starts_with('{')) {
    std::vector<JsonMember> members;
    scan_object(written, members);
    Dict dict;
    for (const JsonMember& member : members) {
      const std::string key = decode_json_string(member.key, counts);
      Value value = value_of(member.value, counts, depth + 1);
      const auto found =
          std::find_if(dict.begin(), dict.end(), [&](const auto& entry) { return entry.first == key; });
      if (found != dict.end()) {
        found->second = std::move(value);  // the last one counts, as in Python
      } else {
        dict.emplace_back(key, std::move(value));
      }
    }
    return dict;
  }
  if (written == "null") return Value::None{};
  if (written == "true" || written == "false") return written == "true";
  return number_of(written);
}

/// ShareGPT's names of roles.
std::string role_of(const std::string& from) {
  constexpr std::array<std::pair<const char*, const char*>, 8> roles = {{{"human", "user"},
                                                                         {"gpt", "assistant"},
                                                                         {"chatgpt", "assistant"},
                                                                         {"model", "assistant"},
                                                                         {"bot", "assistant"},
                                                                         {"observation", "tool"},
                                                                         {"function_response", "tool"},
                                                                         {"tool_response", "tool"}}};
  for (const auto& [name, role] : roles) {
    if (from == name) return role;
  }
  for (const char* role : {"user", "assistant", "system", "tool"}) {
    if (from == role) return role;
  }
  throw RecordFault{"a message is from '" + printable(from, 40) + "', which is no role that is known",
                    "name it user, assistant, system or tool"};
}

const Value* text_member(const Dict& message, const char* key) {
  const Value* value = jinja::find(message, key);
  return value != nullptr && value->text() != nullptr ? value : nullptr;
}

/// As transformers hands a message to a template: without what is null, with the names under which
/// reasoning goes.
Value normalized(const Value& message) {
  if (message.dict() == nullptr)
    throw RecordFault{"a message is no object", "give objects with \"role\" and \"content\""};
  Dict kept;
  for (const auto& [key, value] : *message.dict()) {
    if (!value.is_none()) kept.emplace_back(key, value);
  }
  if (text_member(kept, "role") == nullptr && text_member(kept, "from") != nullptr) {
    Dict renamed = {{"role", Value(role_of(*text_member(kept, "from")->text()))}};
    for (auto& [key, value] : kept) {
      if (key != "from") renamed.emplace_back(key == "value" ? "content" : key, std::move(value));
    }
    kept = std::move(renamed);
  }
  if (text_member(kept, "role") == nullptr)
    throw RecordFault{"missing key 'role' of a message", "give objects with \"role\" and \"content\""};
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* found = jinja::find(kept, name);
    if (found == nullptr) continue;
    const Value reasoning = *found;
    Dict all = {
        {"thinking", jinja::find(kept, "thinking") != nullptr ? *jinja::find(kept, "thinking") : reasoning}};
    for (auto& [key, value] : kept) {
      if (key != "thinking" && key != "reasoning_content") all.emplace_back(key, std::move(value));
    }
    all.emplace_back("reasoning_content", reasoning);
    return all;
  }
  return kept;
}

}  // namespace

Conversation read_conversation(std::string_view messages, const std::vector<JsonMember>& record,
                               TextCounts& counts) {
  if (!messages.starts_with('[')) {
    throw RecordFault{"a conversation is no list", "give a list of objects with \"role\" and \"content\""};
  }
  Conversation conversation;
  try {
    const Value list = value_of(messages, counts);
    for (const Value& message : *list.list()) conversation.messages.push_back(normalized(message));
    conversation.tools = Value::None{};
    TextCounts ignored;
    if (const auto tools = find_member(record, "tools")) {
      Value value = value_of(*tools, ignored);
      if (value.text() != nullptr && !value.text()->empty())
        value = value_of(*value.text(), ignored);  // some store it so
      if (value.list() != nullptr && value.truth()) conversation.tools = std::move(value);
    }
    if (const auto settings = find_member(record, "chat_template_kwargs")) {
      const Value value = value_of(*settings, ignored);
      if (value.dict() != nullptr) conversation.settings = *value.dict();
    }
  } catch (const jinja::Fault& fault) {
    throw RecordFault{fault.what, {}};
  }
  if (conversation.messages.empty()) throw RecordFault{"a conversation without a message", {}};
  return conversation;
}

std::vector<TextPart> bare_contents(const Conversation& conversation) {
  std::vector<TextPart> parts;
  for (const Value& message : conversation.messages) {
    const Value* content = text_member(*message.dict(), "content");
    if (content == nullptr) {
      const Value* found = jinja::find(*message.dict(), "content");
      throw RecordFault{found == nullptr
                            ? std::string("missing key 'content' of a message")
                            : std::string("key 'content' should be a string but is ") + found->kind(),
                        {}};
    }
    parts.push_back({*content->text(), *text_member(*message.dict(), "role")->text() == "assistant"});
  }
  return parts;
}

}  // namespace galapagos
