#include "chat_record.hpp"

#include "../text/record_fault.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <unordered_map>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::Value;

constexpr int deepest = 64;

/// Bytes of the digits that a text begins with.
std::size_t digits_at(std::string_view text) {
  return std::min(text.find_first_not_of("0123456789"), text.size());
}

/// Whether it is spelled as JSON spells a number; those that are whole have only digits.
bool is_number(std::string_view text, bool& whole) {
  if (text.starts_with('-')) text.remove_prefix(1);
  std::size_t digits = digits_at(text);
  if (digits == 0 || (digits > 1 && text[0] == '0')) return false;
  text.remove_prefix(digits);
  whole = text.empty();
  if (text.starts_with('.')) {
    digits = digits_at(text.substr(1));
    if (digits == 0) return false;
    text.remove_prefix(1 + digits);
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    digits = digits_at(text);
    if (digits == 0) return false;
    text.remove_prefix(digits);
  }
  return text.empty();
}

template <typename Number>
Value parsed(std::string_view written) {
  Number number{};
  if (std::from_chars(written.data(), written.data() + written.size(), number).ec != std::errc())
    throw RecordFault{"the number " + printable(std::string(written), 40) + " is beyond 64 bits", {}};
  return number;
}

Value number_of(std::string_view written) {
  for (const char* name : {"NaN", "Infinity", "-Infinity"}) {  // which Python writes and reads
    if (written == name) return parsed<double>(written);
  }
  bool whole = false;
  if (!is_number(written, whole))
    throw RecordFault{"'" + printable(std::string(written), 40) + "' in a message is no JSON", {}};
  return whole ? parsed<std::int64_t>(written) : parsed<double>(written);
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
    std::unordered_map<std::string, std::size_t> places;
    for (const JsonMember& member : members) {
      std::string key = decode_json_string(member.key, counts);
      Value value = value_of(member.value, counts, depth + 1);
      const auto [place, is_new] = places.emplace(key, dict.size());
      if (is_new) {
        dict.emplace_back(std::move(key), std::move(value));
      } else {
        dict[place->second].second = std::move(value);  // the last one counts, as in Python
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

/// A list of tools, perhaps as a text that holds its JSON, as some store it; none where there are none.
Value tools_of(std::string_view written) {
  TextCounts ignored;
  std::string text;
  if (written.starts_with('"')) {
    text = decode_json_string(written.substr(1, written.size() - 2), ignored);
    written = text;
    written.remove_prefix(std::min(written.find_first_not_of(" \t\r\n"), written.size()));
    written = written.substr(0, written.find_last_not_of(" \t\r\n") + 1);
  }
  if (written.empty() || written == "null") return Value::None{};
  constexpr const char* remedy = "give a list of tools, or leave them out";
  if (!written.starts_with('[')) {
    throw RecordFault{
        "key 'tools' should be a list but is " +
            (text.empty() ? std::string(kind_of_json(written)) : "'" + printable(text, 40) + "'"),
        remedy};
  }
  try {
    Value tools = value_of(written, ignored);
    return tools.truth() ? std::move(tools) : Value(Value::None{});
  } catch (const RecordFault& fault) {
    throw RecordFault{"key 'tools': " + fault.what, remedy};
  }
}

/// Variables of a template beside the conversation, which is none of them.
Dict settings_of(std::string_view written) {
  TextCounts ignored;
  const Value value = value_of(written, ignored);
  if (value.is_none()) return {};
  if (value.dict() == nullptr)
    throw RecordFault{
        std::string("key 'chat_template_kwargs' should be an object but is ") + kind_of_json(written),
        "give an object of settings, or leave it out"};
  for (const char* name : {"messages", "conversation", "chat_template"}) {
    if (jinja::find(*value.dict(), name) != nullptr)
      throw RecordFault{std::string("key 'chat_template_kwargs' has '") + name + "', which is no setting",
                        {}};
  }
  return *value.dict();
}

}  // namespace

Conversation read_conversation(std::string_view messages, const std::vector<JsonMember>& record,
                               bool for_template, TextCounts& counts) {
  if (!messages.starts_with('[')) {
    throw RecordFault{"a conversation is no list", "give a list of objects with \"role\" and \"content\""};
  }
  Conversation conversation;
  try {
    const Value list = value_of(messages, counts);
    for (const Value& message : *list.list()) conversation.messages.push_back(normalized(message));
    conversation.tools = Value::None{};
    if (const auto tools = find_member(record, "tools"); tools && for_template)
      conversation.tools = tools_of(*tools);
    if (const auto settings = find_member(record, "chat_template_kwargs"); settings && for_template)
      conversation.settings = settings_of(*settings);
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
