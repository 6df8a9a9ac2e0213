#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace galapagos {

class ChatTemplate;
class Options;

/// How files of text are read.
struct TextOptions {
  std::string text_key;             ///< of a record's text, as "content" or "data.body"; empty: what there is
  std::int64_t skip_bad_lines = 0;  ///< records of a file without a usable text that are passed over
  bool allow_invalid_utf8 = false;  ///< take files in which much is not UTF-8
  std::string chat_template;        ///< a name, a file or "none"; empty: the model's own
  std::shared_ptr<const ChatTemplate> chat;  ///< that one; null: contents of messages are taken as they are
};

/// What bind_text() binds.
inline constexpr std::array text_option_names = {"text-key", "skip-bad-lines", "allow-invalid-utf8",
                                                 "chat-template"};

/// `in_identity`: as they are given.
void bind_text(Options& list, TextOptions& options, bool in_identity = false);

}  // namespace galapagos
