#pragma once

#include "pattern.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The `pre_tokenizer` of a tokenizer.json, of any kind that the Hugging Face tokenizers have: cuts a text
/// into the pieces that the model sees one by one.
class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view)>;

  /// InputError (naming `where`) for what is unknown or incomplete. Null makes one that cuts nothing.
  PreTokenizer(const Json& definition, const std::string& where);

  /// Whether the model is to read the pieces byte by byte, each byte by its stand-in.
  bool byte_level() const { return byte_level_; }
  /// Hands the pieces, none of them empty, to `sink`, in order. `head`: bytes at the text's front that stem
  /// from the first character of the whole input.
  void split(std::string_view text, std::size_t head, const Sink& sink) const { run(0, text, head, sink); }

 private:
  struct PrefixSpace {};
  struct Bytes {};  ///< writes every byte as its stand-in
  struct Words {};  ///< runs of word characters, and of others but white space
  struct Scripts {};
  struct Length {
    std::size_t characters;
  };
  struct Metaspace {
    enum class Prepend { first, always, never } prepend;
    std::string replacement;
    bool split;
  };
  using Stage = std::variant<Cut, PrefixSpace, Bytes, Words, Scripts, Length, Metaspace>;

  void add(const Json& definition, const std::string& where);
  void add_byte_level(const Json& definition, const std::string& where);
  void add_metaspace(const Json& definition, const std::string& where);

  void run(std::size_t stage, std::string_view text, std::size_t head, const Sink& sink) const;
  void run_metaspace(const Metaspace& kind, std::size_t next, std::string_view text, std::size_t head,
                     const Sink& sink) const;

  std::vector<Stage> stages_;
  bool byte_level_ = false;
};

}  // namespace galapagos
