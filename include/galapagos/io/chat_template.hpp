#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

class ChatTemplate;

/// What a model's folder says of how conversations are laid out (chat_template.jinja,
/// additional_chat_templates, chat_template in tokenizer_config.json or chat_template.json), or what `choice`
/// names: a template of the folder that goes by that name, or a file of its own. Null where the folder has
/// none, or for "none": then contents are taken as they are. InputError where what was chosen is not there.
/// One that cannot be run is refused once it is needed.
std::shared_ptr<const ChatTemplate> load_chat_template(const std::filesystem::path& folder_or_file,
                                                       const std::string& choice, const Tokenizer& tokenizer);

/// The text of the folder's own template, the one for conversations without tools; empty where it has none.
/// InputError where a file cannot be read.
std::string chat_template_text(const std::filesystem::path& folder);

/// What a model is given to answer the conversation under "messages" of a JSON record: laid out by the
/// template, with its generation prompt. InputError, naming `where`, where it cannot be.
std::string chat_prompt(const ChatTemplate& chat, std::string_view record, const std::string& where);

}  // namespace galapagos
