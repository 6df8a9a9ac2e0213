#pragma once

#include "regex.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The `pre_tokenizer` of a tokenizer.json: cuts a text into the pieces that the model sees one by one.
/// Supported: Split by regular expression (Isolated), ByteLevel, Metaspace, and sequences of them.
class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view)>;

  /// InputError (naming `where`) for any other kind. Null makes one that cuts nothing.
  PreTokenizer(const Json& definition, const std::string& where);

  /// Whether the model is to read the pieces byte by byte.
  bool byte_level() const { return byte_level_; }
  bool has_metaspace() const;
  /// Hands the non-empty pieces to `sink`, in order. `at_start`: the text is where the whole input begins.
  void split(std::string_view text, bool at_start, const Sink& sink) const { run(0, text, at_start, sink); }

 private:
  struct PrefixSpace {};
  struct Metaspace {
    enum class Prepend { first, always, never } prepend;
    std::string replacement;
    bool split;
  };
  using Stage = std::variant<Regex, PrefixSpace, Metaspace>;

  void add(const Json& definition, const std::string& where);
  void add_split(const Json& definition, const std::string& where);
  void add_byte_level(const Json& definition, const std::string& where);
  void add_metaspace(const Json& definition, const std::string& where);

  void run(std::size_t stage, std::string_view text, bool at_start, const Sink& sink) const;
  static void cut(const Metaspace& stage, std::string_view text, bool at_start, const Sink& sink);

  std::vector<Stage> stages_;
  bool byte_level_ = false;
};

}  // namespace galapagos
