#include "record_document.hpp"

#include "../chat/chat_record.hpp"
#include "record_fault.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

using Members = std::vector<JsonMember>;

std::string keys_within(std::string_view object, const std::string& outer);

/// Names the keys that there are, those of objects within as far as one level, as much as fits on a line.
std::string list_keys(const Members& members, const std::string& outer = {}) {
  std::string keys;
  for (const JsonMember& member : members) {
    if (keys.size() > 200) return keys + ", ...";
    const std::string key = outer + printable(std::string(member.key), 60);
    std::string inside;
    if (outer.empty() && member.value.starts_with('{')) inside = keys_within(member.value, key + ".");
    if (!keys.empty()) keys += ", ";
    keys += inside.empty() ? "'" + key + "'" : inside;
  }
  return keys;
}

std::string keys_within(std::string_view object, const std::string& outer) {
  try {
    Members members;
    scan_object(object, members);
    return list_keys(members, outer);
  } catch (const RecordFault&) {
    return {};
  }
}

[[noreturn]] void missing(std::string_view key, const Members& members) {
  throw RecordFault{fmt::format("missing key '{}': the record has {}", printable(std::string(key)),
                                members.empty() ? "no key at all" : list_keys(members)),
                    "name the one with the text by --text-key"};
}

std::string text_of(std::string_view key, std::string_view value, TextCounts& counts) {
  if (!value.starts_with('"')) {
    throw RecordFault{fmt::format("key '{}' should be a string but is {}", printable(std::string(key)),
                                  kind_of_json(value)),
                      {}};
  }
  return decode_json_string(value.substr(1, value.size() - 2), counts);
}

std::string text_of(const Members& members, std::string_view key, TextCounts& counts) {
  const auto value = find_member(members, key);
  if (!value) missing(key, members);
  return text_of(key, *value, counts);
}

/// The value under a path of keys with dots between them. A key may have dots itself: the longest goes first.
std::optional<std::string_view> find_path(const Members& members, std::string_view path) {
  if (const auto value = find_member(members, path)) return value;
  for (std::size_t dot = path.rfind('.'); dot != std::string_view::npos && dot > 0;
       dot = path.rfind('.', dot - 1)) {
    const auto outer = find_member(members, path.substr(0, dot));
    if (!outer || !outer->starts_with('{')) continue;
    Members inner;
    scan_object(*outer, inner);
    if (const auto value = find_path(inner, path.substr(dot + 1))) return value;
  }
  return std::nullopt;
}

void read_messages(std::string_view value, const Members& record, const TextOptions& options, bool responses,
                   std::vector<TextPart>& document, TextCounts& counts) {
  const Conversation conversation = read_conversation(value, record, options.chat != nullptr, counts);
  document = options.chat ? options.chat->render(conversation, responses) : bare_contents(conversation);
  if (!options.chat && options.chat_template != "none") ++counts.bare_chats;
}

}  // namespace

void read_record_document(std::string_view record, const TextOptions& options, bool responses,
                          std::vector<TextPart>& document, TextCounts& counts) {
  document.clear();
  Members members;
  scan_object(record, members);
  if (!options.text_key.empty()) {
    const auto value = find_path(members, options.text_key);
    if (!value) missing(options.text_key, members);
    if (value->starts_with('[')) return read_messages(*value, members, options, responses, document, counts);
    document.push_back({text_of(options.text_key, *value, counts), false});
  } else if (const auto text = find_member(members, "text")) {
    document.push_back({text_of("text", *text, counts), false});
  } else if (find_member(members, "prompt") && find_member(members, "response")) {
    document.push_back({text_of(members, "prompt", counts), false});
    document.push_back({text_of(members, "response", counts), true});
  } else if (const auto messages = find_member(members, "messages")) {
    read_messages(*messages, members, options, responses, document, counts);
  } else if (const auto turns = find_member(members, "conversations")) {
    read_messages(*turns, members, options, responses, document, counts);
  } else {
    missing(find_member(members, "prompt") ? "response" : "text", members);
  }
}

}  // namespace galapagos
