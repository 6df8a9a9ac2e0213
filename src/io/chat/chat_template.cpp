#include "chat_template.hpp"

#include "../text/record_fault.hpp"
#include "../utf8.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <optional>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr const char* other_template =
    "give one that can be run with --chat-template FILE, or take contents as they are with --chat-template "
    "none";

std::size_t common_prefix(const std::string& a, const std::string& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

std::size_t common_suffix(const std::string& a, const std::string& b) {
  return static_cast<std::size_t>(std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend()).first -
                                  a.rbegin());
}

/// Whether a character begins before text[at] and goes on there.
bool inside_character(const std::string& text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0u) == 0x80u;
}

bool calls_tools(const jinja::Dict& message) {
  const jinja::Value* calls = jinja::find(message, "tool_calls");
  return calls != nullptr && calls->list() != nullptr && !calls->list()->empty();
}

bool is_assistant(const jinja::Value& message) {
  const jinja::Value* role = message.dict() == nullptr ? nullptr : jinja::find(*message.dict(), "role");
  return role != nullptr && role->text() != nullptr && *role->text() == "assistant";
}

/// The message with another content, of the same kind.
jinja::Value with_content(const jinja::Value& message, const std::string& content) {
  jinja::Dict changed = *message.dict();
  for (auto& [key, value] : changed) {
    if (key != "content") continue;
    const jinja::Dict part = {{"type", "text"}, {"text", content}};
    value = value.list() != nullptr ? jinja::Value(jinja::List{part}) : jinja::Value(content);
  }
  return changed;
}

/// Where an assistant's message begins and ends in a text of its conversation.
class TurnFinder {
 public:
  using Print = std::function<std::string(const Conversation&, bool prompt)>;

  TurnFinder(const Conversation& conversation, const std::string& text, const std::vector<std::string>& ends,
             std::string eos, Print print)
      : conversation_(conversation),
        text_(text),
        ends_(ends),
        eos_(std::move(eos)),
        print_(std::move(print)) {}

  /// Nothing where the template does not print it.
  std::optional<std::pair<std::size_t, std::size_t>> find(std::size_t i) const {
    const jinja::Dict& message = *conversation_.messages[i].dict();
    const jinja::Value* content = jinja::find(message, "content");
    if (content == nullptr || calls_tools(message)) return whole_turn(i);
    const std::string other = text_.find("\u2047") == std::string::npos ? "\u2047" : "\ue000\u2047\ue001";
    Conversation changed = conversation_;
    changed.messages[i] = with_content(conversation_.messages[i], other);
    const std::string varied = print_(changed, false);
    const std::size_t at = varied.find(other);
    if (at == std::string::npos) return std::nullopt;
    // What follows is no more than what follows the stand-in, whose last bytes may be those of the content.
    const std::size_t behind_other = varied.size() - varied.rfind(other) - other.size();
    std::size_t begin = std::min(common_prefix(text_, varied), at);
    while (inside_character(text_, begin)) --begin;
    std::size_t end = std::max(text_.size() - std::min(common_suffix(text_, varied), behind_other), begin);
    while (inside_character(text_, end)) ++end;
    while (begin > 0 && text_[begin - 1] == ' ') --begin;  // which SentencePiece joins to the word behind it
    if (const auto prompt = prompt_end(i); prompt && *prompt <= end) begin = *prompt;
    const std::size_t behind = std::min(text_.find_first_not_of(' ', end), text_.size());
    for (const std::string& token : ends_) {  // the longest first
      if (text_.compare(behind, token.size(), token) != 0) continue;
      end = behind + token.size();
      break;
    }
    if (text_.compare(end, eos_.size(), eos_) == 0)
      end += eos_.size();  // where another token closes the answer first
    return std::pair(begin, end);
  }

 private:
  /// The conversation up to before message `count`; nothing where the template refuses it, as it may one
  /// without a user's turn.
  std::optional<std::string> printed(std::size_t count, bool prompt) const {
    Conversation cut = conversation_;
    cut.messages.resize(count);
    try {
      return print_(cut, prompt);
    } catch (const jinja::Fault&) {
      return std::nullopt;
    }
  }

  /// Where the generation prompt for message i ends, if there is one and the text begins with it.
  std::optional<std::size_t> prompt_end(std::size_t i) const {
    const auto prompt = printed(i, true);
    if (!prompt || !text_.starts_with(*prompt) || prompt == printed(i, false)) return std::nullopt;
    return prompt->size();
  }

  /// Of a message that has more than content: all from the prompt to the end of its turn.
  std::pair<std::size_t, std::size_t> whole_turn(std::size_t i) const {
    const auto begin = prompt_end(i);
    const auto until = printed(i + 1, false);
    if (!begin || !until || !text_.starts_with(*until))
      jinja::fail(fmt::format(
          "where the assistant's message {} begins and ends cannot be told; take --loss-on all", i + 1));
    return {*begin, text_.find_last_not_of(" \n", until->size() - 1) + 1};
  }

  const Conversation& conversation_;
  const std::string& text_;
  const std::vector<std::string>& ends_;
  std::string eos_;
  Print print_;
};

}  // namespace

ChatTemplate::ChatTemplate(const std::map<std::string, std::string>& sources, std::string where,
                           jinja::Dict tokens, std::vector<std::string> ends, std::optional<InputError> fault)
    : where_(std::move(where)), tokens_(std::move(tokens)), ends_(std::move(ends)), fault_(std::move(fault)) {
  for (const auto& [name, source] : sources) {
    Parsed& parsed = parsed_[name];
    try {
      if (!is_valid_utf8(source)) jinja::fail("is not UTF-8");
      parsed.statements = jinja::parse(source);
    } catch (const jinja::Fault& found) {
      parsed.fault = found.what;
    }
  }
}

const ChatTemplate::Parsed& ChatTemplate::choose(const Conversation& conversation) const {
  if (fault_) throw InputError(*fault_);
  const bool tools = !conversation.tools.is_none() && parsed_.contains("tool_use");
  const auto chosen = parsed_.find(tools ? "tool_use" : "default");
  if (chosen == parsed_.end()) {
    std::string names;
    for (const auto& [name, unused] : parsed_) names += (names.empty() ? "" : ", ") + printable(name, 40);
    throw InputError("has several chat templates and none that is the default", where_,
                     "choose one by --chat-template NAME: " + names);
  }
  if (!chosen->second.fault.empty())
    throw InputError("the chat template cannot be run: " + chosen->second.fault, where_, other_template);
  return chosen->second;
}

std::string ChatTemplate::run(const Parsed& parsed, const Conversation& conversation, bool prompt,
                              Spans* generated) const {
  jinja::Dict variables = tokens_;
  variables.emplace_back("messages", conversation.messages);
  variables.emplace_back("tools", conversation.tools);
  variables.emplace_back("documents", jinja::Value::None{});
  variables.emplace_back("add_generation_prompt", prompt);
  variables.insert(variables.end(), conversation.settings.begin(), conversation.settings.end());
  jinja::Rendering rendering = jinja::render(parsed.statements, variables);
  if (generated != nullptr) *generated = std::move(rendering.generated);
  return std::move(rendering.text);
}

std::vector<TextPart> ChatTemplate::render(const Conversation& conversation, bool responses) const {
  const Parsed& parsed = choose(conversation);
  try {
    Spans spans;
    const std::string text = run(parsed, conversation, false, &spans);
    if (!responses) return {{text, false, true}};
    if (spans.empty()) spans = response_spans(parsed, conversation, text);
    std::vector<TextPart> parts;
    std::size_t done = 0;
    for (const auto& [begin, end] : spans) {
      if (begin > done) parts.push_back({text.substr(done, begin - done), false, true});
      if (end > begin) parts.push_back({text.substr(begin, end - begin), true, true});
      done = std::max(done, end);
    }
    if (done < text.size()) parts.push_back({text.substr(done), false, true});
    return parts;
  } catch (const jinja::Fault& fault) {
    throw RecordFault{fmt::format("the chat template of {}: {}", where_, fault.what), other_template};
  }
}

std::string ChatTemplate::prompt(const Conversation& conversation) const {
  const Parsed& parsed = choose(conversation);
  try {
    return run(parsed, conversation, true);
  } catch (const jinja::Fault& fault) {
    throw RecordFault{fmt::format("the chat template of {}: {}", where_, fault.what), other_template};
  }
}

/// What the assistant says, and the token behind it. Where a turn of it begins, the template's generation
/// prompt ends, if it has one and prints the same with what follows; else the content begins. Where its
/// content ends, the text does not change with the content any more.
ChatTemplate::Spans ChatTemplate::response_spans(const Parsed& parsed, const Conversation& conversation,
                                                 const std::string& text) const {
  const jinja::Value* eos = jinja::find(tokens_, "eos_token");
  const TurnFinder finder(conversation, text, ends_, eos == nullptr ? "" : *eos->text(),
                          [&](const Conversation& each, bool prompt) { return run(parsed, each, prompt); });
  Spans spans;
  for (std::size_t i = 0; i < conversation.messages.size(); ++i) {
    if (!is_assistant(conversation.messages[i])) continue;
    auto turn = finder.find(i);
    if (!turn) continue;
    if (!spans.empty()) turn->first = std::max(turn->first, spans.back().second);
    if (turn->first < turn->second) spans.push_back(*turn);
  }
  return spans;
}

}  // namespace galapagos
