#pragma once

#include "io/documents.hpp"

#include <memory>

#include <galapagos/core/json.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos::test {

inline const Tokenizer& llama() {
  static const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(data_file("models/llama2_tiny"));
  return *tokenizer;
}

/// A model's folder with these settings of its tokenizer and a file "t.jinja".
struct ChatFolder {
  explicit ChatFolder(const Json& settings = Json::object(), const std::string& source = {}) {
    write_text(folder / "tokenizer_config.json", settings.dump());
    if (!source.empty()) write_text(folder / "t.jinja", source);
  }

  TextOptions options(const std::string& choice = {}) const {
    TextOptions options;
    options.chat = load_chat_template(folder.path(), choice, llama());
    return options;
  }

  /// The parts that the records of a file are read as.
  std::vector<std::vector<TextPart>> parts(const Json& record, const TextOptions& options,
                                           bool responses) const {
    write_text(folder / "a.jsonl", record.dump() + "\n");
    DocumentReader reader(folder / "a.jsonl", options, responses);
    std::vector<std::vector<TextPart>> documents;
    for (std::vector<TextPart> document; reader.next(document);) documents.push_back(document);
    return documents;
  }

  std::string text(const Json& record, const TextOptions& options) const {
    const auto documents = parts(record, options, false);
    return documents.size() == 1 ? whole(documents[0]) : "";
  }

  TemporaryFolder folder;
};

}  // namespace galapagos::test
