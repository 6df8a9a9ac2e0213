#pragma once

#include "../jinja/renderer.hpp"
#include "../jinja/syntax.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/document.hpp>

namespace galapagos {

/// A conversation as a template sees it.
struct Conversation {
  jinja::List messages;  ///< dictionaries with "role", "content" and what else they have
  jinja::Value tools;    ///< a list, or none
  jinja::Dict settings;  ///< further variables, as "enable_thinking"
};

/// Lays conversations out as transformers' apply_chat_template() does.
class ChatTemplate {
 public:
  /// `sources`: templates by their names, of which "default" is the one for conversations without tools;
  /// `where`: the file they are from; `tokens`: "bos_token" and the like; `ends`: texts of the tokens that
  /// may end a turn; `fault`: why none can be used, if so, told with the first conversation.
  ChatTemplate(const std::map<std::string, std::string>& sources, std::string where, jinja::Dict tokens,
               std::vector<std::string> ends, std::optional<InputError> fault = {});

  /// The conversation's text, in parts that are to be tokenized as one, with `responses` cut where what the
  /// assistant says begins and ends. InputError where the template cannot be run; RecordFault where it cannot
  /// be for this conversation.
  std::vector<TextPart> render(const Conversation& conversation, bool responses) const;
  /// Its text with what an answer begins with. Errors as of render().
  std::string prompt(const Conversation& conversation) const;

 private:
  struct Parsed {
    jinja::Block statements;
    std::string fault;  ///< why there are none
  };
  using Spans = std::vector<std::pair<std::size_t, std::size_t>>;

  const Parsed& choose(const Conversation& conversation) const;
  std::string run(const Parsed& parsed, const Conversation& conversation, bool prompt,
                  Spans* generated = nullptr) const;
  Spans response_spans(const Parsed& parsed, const Conversation& conversation, const std::string& text) const;

  std::map<std::string, Parsed> parsed_;
  std::string where_;
  jinja::Dict tokens_;
  std::vector<std::string> ends_;
  std::optional<InputError> fault_;
};

}  // namespace galapagos
