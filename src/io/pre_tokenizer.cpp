#include "pre_tokenizer.hpp"

#include <algorithm>

#include <galapagos/core/error.hpp>
#include <galapagos/core/utf8.hpp>

namespace galapagos {
namespace {

constexpr const char* gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* remedy = "tokenize elsewhere into Megatron .bin/.idx and give those files";

bool flag_or(const Json& object, const std::string& key, bool fallback, const std::string& where) {
  return json_absent(object, key) ? fallback : json_bool(object, key, where);
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& definition, const std::string& where) {
  if (!definition.is_null()) add(definition, where);
}

void PreTokenizer::add(const Json& definition, const std::string& where) {
  const std::string type = json_string(definition, "type", where);
  if (type == "Sequence") {
    if (json_absent(definition, "pretokenizers") || !definition["pretokenizers"].is_array()) {
      throw InputError("pre_tokenizer Sequence has no list of pretokenizers", where, "replace the file");
    }
    for (const Json& stage : definition["pretokenizers"]) add(stage, where);
    return;
  }
  if (byte_level_) {
    throw InputError("pre_tokenizer '" + printable(type) + "' after ByteLevel is not supported", where,
                     remedy);
  }
  if (type == "Split") {
    add_split(definition, where);
  } else if (type == "ByteLevel") {
    add_byte_level(definition, where);
  } else if (type == "Metaspace") {
    add_metaspace(definition, where);
  } else {
    throw InputError("pre_tokenizer '" + printable(type) + "' is not supported", where, remedy);
  }
}

void PreTokenizer::add_split(const Json& definition, const std::string& where) {
  const std::string behavior = json_string(definition, "behavior", where);
  if (behavior != "Isolated" || flag_or(definition, "invert", false, where)) {
    throw InputError(
        "pre_tokenizer Split with behavior '" + printable(behavior) + "' or inverted is not supported", where,
        remedy);
  }
  if (json_absent(definition, "pattern") || json_absent(definition["pattern"], "Regex")) {
    throw InputError("pre_tokenizer Split without a regular expression is not supported", where, remedy);
  }
  stages_.emplace_back(Regex(json_string(definition["pattern"], "Regex", where), where));
}

void PreTokenizer::add_byte_level(const Json& definition, const std::string& where) {
  if (json_bool(definition, "add_prefix_space", where)) stages_.emplace_back(PrefixSpace{});
  if (flag_or(definition, "use_regex", true, where)) stages_.emplace_back(Regex(gpt2_pattern, where));
  byte_level_ = true;
}

void PreTokenizer::add_metaspace(const Json& definition, const std::string& where) {
  using Prepend = Metaspace::Prepend;
  const std::string scheme =
      json_absent(definition, "prepend_scheme") ? "always" : json_string(definition, "prepend_scheme", where);
  Metaspace stage{Prepend::always, json_string(definition, "replacement", where),
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
  if (!flag_or(definition, "add_prefix_space", true, where) && stage.prepend != Prepend::never) {
    throw InputError("pre_tokenizer Metaspace contradicts itself: no prefix space, but prepend_scheme '" +
                         printable(scheme) + "'",
                     where, "set prepend_scheme to never");
  }
  if (utf8_length(stage.replacement, 0) != stage.replacement.size() || stage.replacement.empty()) {
    throw InputError("pre_tokenizer Metaspace: replacement is not one character", where, "replace the file");
  }
  stages_.emplace_back(std::move(stage));
}

bool PreTokenizer::has_metaspace() const {
  return std::any_of(stages_.begin(), stages_.end(),
                     [](const Stage& stage) { return std::holds_alternative<Metaspace>(stage); });
}

void PreTokenizer::run(std::size_t stage, std::string_view text, bool at_start, const Sink& sink) const {
  if (text.empty()) return;
  if (stage == stages_.size()) return sink(text);
  bool first = at_start;
  const Sink next = [&](std::string_view piece) {
    run(stage + 1, piece, first, sink);
    first = false;
  };
  if (const auto* regex = std::get_if<Regex>(&stages_[stage])) {
    regex->split(text, next);
  } else if (const auto* metaspace = std::get_if<Metaspace>(&stages_[stage])) {
    cut(*metaspace, text, at_start, next);
  } else {
    next(text.front() == ' ' ? text : ' ' + std::string(text));
  }
}

void PreTokenizer::cut(const Metaspace& stage, std::string_view text, bool at_start, const Sink& sink) {
  const std::string& mark = stage.replacement;
  const bool marked = text.front() == ' ' || text.starts_with(mark);
  const bool wanted =
      stage.prepend == Metaspace::Prepend::always || (stage.prepend == Metaspace::Prepend::first && at_start);
  std::string out;
  if (wanted && !marked) out = mark;
  for (const char c : text) {
    if (c == ' ') {
      out += mark;
    } else {
      out += c;
    }
  }
  const std::string_view view = out;
  std::size_t done = 0;
  if (stage.split) {
    for (std::size_t at = view.find(mark, 1); at != std::string_view::npos; at = view.find(mark, at + 1)) {
      sink(view.substr(done, at - done));
      done = at;
    }
  }
  sink(view.substr(done));
}

}  // namespace galapagos
