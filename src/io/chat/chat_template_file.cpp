#include "chat_template.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_template_bytes = std::uint64_t{1} << 20;

struct Found {
  std::map<std::string, std::string> sources;
  std::string where;
};

std::string read_template(const fs::path& path) {
  return read_file(path, max_template_bytes);
}

Json settings_of(const fs::path& path) {
  return fs::exists(path) ? read_json(path) : Json::object();
}

/// Of "chat_template": a text, or a list of objects with "name" and "template".
std::map<std::string, std::string> sources_of(const Json& settings, const fs::path& path) {
  if (json_absent(settings, "chat_template")) return {};
  const Json& value = settings["chat_template"];
  if (!value.is_array()) return {{"default", json_string(settings, "chat_template", path.string())}};
  std::map<std::string, std::string> sources;
  for (const Json& each : value)
    sources[json_string(each, "name", path.string())] = json_string(each, "template", path.string());
  return sources;
}

/// As transformers looks for them; chat_template.json is where models with a processor had theirs.
Found find_templates(const fs::path& folder) {
  Found found;
  const fs::path file = folder / "chat_template.jinja", more = folder / "additional_chat_templates";
  if (fs::exists(file)) found.sources["default"] = read_template(file);
  if (fs::is_directory(more)) {
    for (const auto& entry : fs::directory_iterator(more)) {
      if (entry.path().extension() == ".jinja")
        found.sources[entry.path().stem()] = read_template(entry.path());
    }
  }
  found.where = file.string();
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    if (!found.sources.empty()) break;
    found.where = (folder / name).string();
    found.sources = sources_of(settings_of(folder / name), folder / name);
  }
  return found;
}

/// "bos_token" and the like, as transformers gives them to a template.
jinja::Dict tokens_of(const fs::path& folder) {
  const Json config = settings_of(folder / "tokenizer_config.json"),
             map = settings_of(folder / "special_tokens_map.json");
  const Json* class_name = json_absent(config, "tokenizer_class") ? nullptr : &config["tokenizer_class"];
  const bool llama = class_name != nullptr && class_name->is_string() &&
                     class_name->get_ref<const std::string&>().starts_with("LlamaTokenizer");
  jinja::Dict tokens;
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const bool none = config.is_object() && config.contains(name) && config[name].is_null();
    for (const Json* settings : {&config, &map}) {
      if (none || json_absent(*settings, name)) continue;
      const Json& value = (*settings)[name];
      tokens.emplace_back(name,
                          value.is_string() ? value.get<std::string>() : json_string(value, "content", name));
      break;
    }
    if (none || jinja::find(tokens, name) != nullptr || !llama) continue;
    // What this class takes where the file says nothing.
    const std::string text = name;
    if (text == "bos_token") tokens.emplace_back(text, "<s>");
    if (text == "eos_token") tokens.emplace_back(text, "</s>");
    if (text == "unk_token") tokens.emplace_back(text, "<unk>");
  }
  return tokens;
}

/// The texts of tokens that stand for no text, the longest first.
std::vector<std::string> control_tokens(const std::vector<Token>& vocabulary) {
  std::vector<std::string> texts;
  for (const Token& token : vocabulary) {
    if (token.kind == TokenKind::control) texts.push_back(token.text);
  }
  std::sort(texts.begin(), texts.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  return texts;
}

/// What is not needed before the first conversation, and a fault in it none of what has no conversations.
struct Prepared {
  jinja::Dict tokens;
  std::vector<std::string> ends;
};

Prepared prepare(const fs::path& folder, const std::string& where, const Tokenizer& tokenizer) {
  Prepared prepared;
  prepared.tokens = tokens_of(folder);
  const std::vector<Token> vocabulary = tokenizer.vocabulary();
  prepared.ends = control_tokens(vocabulary);
  const jinja::Value* token = jinja::find(prepared.tokens, "eos_token");
  if (token == nullptr) token = jinja::find(prepared.tokens, "bos_token");
  if (token == nullptr && prepared.ends.empty()) return prepared;
  // Whether the special tokens that a template prints become tokens.
  const std::string text = token != nullptr ? *token->text() : prepared.ends.back();
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  if (ids.size() == 1 && vocabulary[static_cast<std::size_t>(ids[0])].text == text) return prepared;
  throw InputError("a chat template prints tokens like " + printable(text, 40) +
                       ", which this tokenizer does not see in a text",
                   where,
                   "write the tokenizer's tokenizer.json (transformers: "
                   "AutoTokenizer.from_pretrained(X).save_pretrained(X)), or take "
                   "contents as they are with --chat-template none");
}

}  // namespace

std::shared_ptr<const ChatTemplate> load_chat_template(const fs::path& folder_or_file,
                                                       const std::string& choice,
                                                       const Tokenizer& tokenizer) {
  if (choice == "none") return nullptr;
  const fs::path folder = fs::is_directory(folder_or_file) ? folder_or_file : folder_or_file.parent_path();
  Found found;
  std::optional<InputError> fault;
  try {
    found = find_templates(folder);
  } catch (const InputError& error) {
    found = {{{"default", ""}}, folder.string()};
    fault = error;
  }
  if (const auto named = found.sources.find(choice); named != found.sources.end()) {
    found.sources = {{"default", named->second}};
  } else if (!choice.empty()) {
    if (!fs::is_regular_file(choice)) {
      if (fault) throw InputError(*fault);
      std::string names = "none";
      for (const auto& [name, unused] : found.sources) names += ", " + printable(name, 40);
      throw UsageError("no chat template '" + printable(choice) + "'", "--chat-template",
                       fmt::format("give a file, or one of those of {}: {}", folder.string(), names));
    }
    found = {{{"default", read_template(choice)}}, choice};
    fault.reset();
  }
  if (found.sources.empty()) return nullptr;
  Prepared prepared;
  try {
    prepared = prepare(folder, found.where, tokenizer);
  } catch (const InputError& error) {
    if (!fault) fault = error;
  }
  return std::make_shared<ChatTemplate>(found.sources, found.where, std::move(prepared.tokens),
                                        std::move(prepared.ends), std::move(fault));
}

std::string chat_template_text(const fs::path& folder) {
  const Found found = find_templates(folder);
  const auto own = found.sources.find("default");
  return own == found.sources.end() ? std::string() : own->second;
}

}  // namespace galapagos
