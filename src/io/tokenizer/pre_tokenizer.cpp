#include "pre_tokenizer.hpp"

#include "byte_level.hpp"
#include "characters.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <type_traits>
#include <utility>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

using Sink = PreTokenizer::Sink;

constexpr const char* gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* remedy = "tokenize elsewhere into Megatron .bin/.idx and give those files";

bool flag_or(const Json& object, const std::string& key, bool fallback, const std::string& where) {
  return json_absent(object, key) ? fallback : json_bool(object, key, where);
}

std::string one_character(const Json& object, const std::string& key, const std::string& where) {
  std::string text = json_string(object, key, where);
  if (!text.empty() && utf8_length(text, 0) == text.size()) return text;
  throw InputError("pre_tokenizer: " + key + " is not one character", where, "replace the file");
}

/// Cuts where the kind of character changes; a kind of 0 is dropped.
void cut_words(std::string_view text, const Sink& sink) {
  std::size_t begin = 0;
  int last = 0;
  const auto end_at = [&](std::size_t end, int kind) {
    if (kind == last) return;
    if (last != 0) sink(text.substr(begin, end - begin));
    begin = end;
    last = kind;
  };
  for_each_character(text, [&](std::size_t at, std::size_t, char32_t code) {
    end_at(at, is_word_character(code) ? 1 : is_white_space(code) ? 0 : 2);
  });
  end_at(text.size(), 0);
}

/// Cuts before a script that differs from the last. Spaces belong to what is before them; in front of
/// everything they are dropped, as in the original.
void cut_scripts(std::string_view text, const Sink& sink) {
  std::optional<std::size_t> begin;
  std::optional<int> last;
  for_each_character(text, [&](std::size_t at, std::size_t, char32_t code) {
    const int script = script_of(code);
    if (script == any_script || last == script) return;
    if (begin) sink(text.substr(*begin, at - *begin));
    begin = at;
    last = script;
  });
  if (begin) sink(text.substr(*begin));
}

void cut_lengths(std::string_view text, std::size_t characters, const Sink& sink) {
  std::size_t begin = 0;
  std::size_t count = 0;
  for_each_character(text, [&](std::size_t at, std::size_t, char32_t) {
    if (count++ % characters != 0 || at == 0) return;
    sink(text.substr(begin, at - begin));
    begin = at;
  });
  sink(text.substr(begin));
}

/// Cuts before every mark.
void cut_before(std::string_view text, const std::string& mark, const Sink& sink) {
  std::size_t done = 0;
  for (std::size_t at = text.find(mark, 1); at != std::string_view::npos; at = text.find(mark, at + 1)) {
    sink(text.substr(done, at - done));
    done = at;
  }
  sink(text.substr(done));
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& definition, const std::string& where) {
  if (!definition.is_null()) add(definition, where);
  if (constexpr std::size_t most = 256; stages_.size() > most)  // each is a call within the one before it
    throw InputError(fmt::format("a pre_tokenizer of {} stages, more than {}", stages_.size(), most), where,
                     "replace the file");
  // The model itself can spell the bytes of its pieces, sooner.
  byte_level_ = !stages_.empty() && std::holds_alternative<Bytes>(stages_.back());
  if (byte_level_) stages_.pop_back();
}

void PreTokenizer::add(const Json& definition, const std::string& where) {
  const std::string type = json_string(definition, "type", where);
  if (type == "Sequence") {
    if (json_absent(definition, "pretokenizers") || !definition["pretokenizers"].is_array()) {
      throw InputError("pre_tokenizer Sequence has no list of pretokenizers", where, "replace the file");
    }
    for (const Json& stage : definition["pretokenizers"]) add(stage, where);
  } else if (type == "Split") {
    const std::string whose = "pre_tokenizer Split";
    stages_.emplace_back(Cut(read_pattern(definition, whose, where),
                             read_behavior(json_string(definition, "behavior", where), whose, where),
                             flag_or(definition, "invert", false, where)));
  } else if (type == "ByteLevel") {
    add_byte_level(definition, where);
  } else if (type == "Metaspace") {
    add_metaspace(definition, where);
  } else if (type == "Digits") {
    stages_.emplace_back(Cut(Pattern(is_numeric), json_bool(definition, "individual_digits", where)
                                                      ? Behavior::isolated
                                                      : Behavior::contiguous));
  } else if (type == "Punctuation") {
    const std::string behavior =
        json_absent(definition, "behavior") ? "Isolated" : json_string(definition, "behavior", where);
    stages_.emplace_back(
        Cut(Pattern(is_punctuation), read_behavior(behavior, "pre_tokenizer Punctuation", where)));
  } else if (type == "WhitespaceSplit") {
    stages_.emplace_back(Cut(Pattern(is_white_space), Behavior::removed));
  } else if (type == "BertPreTokenizer") {
    stages_.emplace_back(Cut(Pattern(is_white_space), Behavior::removed));
    stages_.emplace_back(Cut(Pattern(is_punctuation), Behavior::isolated));
  } else if (type == "CharDelimiterSplit") {
    stages_.emplace_back(Cut(Pattern(one_character(definition, "delimiter", where)), Behavior::removed));
  } else if (type == "Whitespace") {
    stages_.emplace_back(Words{});
  } else if (type == "UnicodeScripts") {
    stages_.emplace_back(Scripts{});
  } else if (type == "FixedLength") {
    const std::int64_t length =
        json_absent(definition, "length") ? 5 : json_integer(definition, "length", 1, INT32_MAX, where);
    stages_.emplace_back(Length{static_cast<std::size_t>(length)});
  } else {
    throw InputError("pre_tokenizer '" + printable(type) + "' is not supported", where, remedy);
  }
}

void PreTokenizer::add_byte_level(const Json& definition, const std::string& where) {
  if (json_bool(definition, "add_prefix_space", where)) stages_.emplace_back(PrefixSpace{});
  if (flag_or(definition, "use_regex", true, where))
    stages_.emplace_back(Cut(Pattern(Regex(gpt2_pattern, where)), Behavior::isolated));
  stages_.emplace_back(Bytes{});
}

void PreTokenizer::add_metaspace(const Json& definition, const std::string& where) {
  using Prepend = Metaspace::Prepend;
  const bool prefix = flag_or(definition, "add_prefix_space", true, where);
  const std::string scheme = !json_absent(definition, "prepend_scheme")
                                 ? json_string(definition, "prepend_scheme", where)
                             : prefix ? "always"
                                      : "never";
  Metaspace stage{Prepend::always, one_character(definition, "replacement", where),
                  flag_or(definition, "split", true, where)};
  if (scheme == "first") {
    stage.prepend = Prepend::first;
  } else if (scheme == "never") {
    stage.prepend = Prepend::never;
  } else if (scheme != "always") {
    throw InputError(
        "pre_tokenizer Metaspace with prepend_scheme '" + printable(scheme) + "' is not supported", where,
        remedy);
  }
  if (!prefix && stage.prepend != Prepend::never) {
    throw InputError("pre_tokenizer Metaspace contradicts itself: no prefix space, but prepend_scheme '" +
                         printable(scheme) + "'",
                     where, "set prepend_scheme to never");
  }
  stages_.emplace_back(std::move(stage));
}

void PreTokenizer::run(std::size_t stage, std::string_view text, std::size_t head, const Sink& sink) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return sink(text);
  const Sink next = [&](std::string_view piece) {
    const auto begin = static_cast<std::size_t>(piece.data() - text.data());
    run(stage + 1, piece, head > begin ? head - begin : 0, sink);
  };
  std::visit(
      [&](const auto& kind) {
        using Kind = std::decay_t<decltype(kind)>;
        if constexpr (std::is_same_v<Kind, Cut>) {
          kind.split(text, next);
        } else if constexpr (std::is_same_v<Kind, Words>) {
          cut_words(text, next);
        } else if constexpr (std::is_same_v<Kind, Scripts>) {
          cut_scripts(text, next);
        } else if constexpr (std::is_same_v<Kind, Length>) {
          cut_lengths(text, kind.characters, next);
        } else if constexpr (std::is_same_v<Kind, Bytes>) {
          run(stage + 1, spell_bytes(text), spell_bytes(text.substr(0, head)).size(), sink);
        } else if constexpr (std::is_same_v<Kind, PrefixSpace>) {
          if (text.front() == ' ') return next(text);
          run(stage + 1, ' ' + std::string(text), head > 0 ? head + 1 : 0, sink);
        } else {
          run_metaspace(kind, stage + 1, text, head, sink);
        }
      },
      stages_[stage]);
}

void PreTokenizer::run_metaspace(const Metaspace& kind, std::size_t next, std::string_view text,
                                 std::size_t head, const Sink& sink) const {
  const std::string& mark = kind.replacement;
  const bool marked = text.front() == ' ' || text.starts_with(mark);
  const bool wanted =
      kind.prepend == Metaspace::Prepend::always || (kind.prepend == Metaspace::Prepend::first && head > 0);
  std::string out;
  std::size_t new_head = 0;
  if (wanted && !marked) out = mark;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') {
      out += mark;
    } else {
      out += text[i];
    }
    if (i < head) new_head = out.size();
  }
  if (!kind.split) return run(next, out, new_head, sink);
  cut_before(out, mark, [&](std::string_view piece) {
    const auto begin = static_cast<std::size_t>(piece.data() - out.data());
    run(next, piece, new_head > begin ? new_head - begin : 0, sink);
  });
}

}  // namespace galapagos
