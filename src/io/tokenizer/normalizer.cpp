#include "normalizer.hpp"

#include "byte_level.hpp"
#include "characters.hpp"
#include "normal_form.hpp"
#include "pattern.hpp"
#include "precompiled.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

using Step = Normalizer::Step;

/// Writes what becomes of each character: put(out, text of the character, code).
template <typename Put>
Step by_character(Put put) {
  return [put](std::string_view text, std::size_t& head) {
    std::string out;
    out.reserve(text.size());
    std::size_t new_head = 0;
    for_each_character(text, [&](std::size_t begin, std::size_t length, char32_t code) {
      put(out, text.substr(begin, length), code);
      if (begin < head) new_head = out.size();
    });
    head = new_head;
    return out;
  };
}

/// Bytes of the characters that two texts begin with alike.
std::size_t alike(std::string_view a, std::string_view b) {
  std::size_t same = 0;
  while (same < b.size()) {
    const std::size_t length = utf8_length(b, same);
    if (a.substr(same, length) != b.substr(same, length)) break;
    same += length;
  }
  return same;
}

Step normal_form(NormalForm form) {
  return [form](std::string_view text, std::size_t& head) {
    std::string out = normalized(text, form);
    if (head == 0 || out.empty()) return out;
    // What the head becomes alone, as far as it stays that: the last of it can be composed with what follows,
    // or change places with marks that do.
    const std::string alone = normalized(text.substr(0, head), form);
    const bool composes = form == NormalForm::nfc || form == NormalForm::nfkc;
    head = alike(alone, out);
    if (head < out.size() && (head == 0 || (composes && head < alone.size()))) head += utf8_length(out, head);
    return out;
  };
}

std::string lower_cased(std::string_view text, std::size_t& head) {
  static const Step step = by_character([](std::string& out, std::string_view, char32_t code) {
    if (code == 0x130) {
      out += "i\xcc\x87";
    } else {
      append_utf8(out, lower_case(code));
    }
  });
  return step(text, head);
}

/// Only the characters that are not `dropped`.
Step without(bool (*dropped)(char32_t)) {
  return by_character([dropped](std::string& out, std::string_view text, char32_t code) {
    if (!dropped(code)) out += text;
  });
}

Step strip(bool left, bool right) {
  return [left, right](std::string_view text, std::size_t& head) {
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (left && begin < end && is_white_space(first_character(text.substr(begin))))
      begin += utf8_length(text, begin);
    while (right && begin < end) {
      const char32_t last = last_character(text.substr(begin, end - begin));
      if (!is_white_space(last)) break;
      std::string spelled;
      append_utf8(spelled, last);
      end -= spelled.size();
    }
    head = std::min(head - std::min(head, begin), end - begin);
    return std::string(text.substr(begin, end - begin));
  };
}

Step prepend(const std::string& prefix) {
  return [prefix](std::string_view text, std::size_t& head) {
    if (text.empty()) return std::string();
    if (head > 0) head += prefix.size();
    return prefix + std::string(text);
  };
}

Step replace(Pattern pattern, const std::string& content) {
  return [pattern = std::make_shared<Pattern>(std::move(pattern)), content](std::string_view text,
                                                                            std::size_t& head) {
    std::string out;
    std::size_t new_head = 0;
    pattern->for_each_part(text, [&](std::size_t begin, std::size_t end, bool matches) {
      if (matches) {
        out += content;  // stems from the last character replaced
        if (head > 0 && end <= head) new_head = out.size();
      } else {
        if (begin < head) new_head = out.size() + std::min(head, end) - begin;
        out += text.substr(begin, end - begin);
      }
    });
    head = new_head;
    return out;
  };
}

Step nmt() {
  return by_character([](std::string& out, std::string_view text, char32_t code) {
    const bool dropped = (code >= 0x1 && code <= 0x8) || code == 0xb || (code >= 0xe && code <= 0x1f) ||
                         code == 0x7f || code == 0x8f || code == 0x9f;
    const bool space = code == 0x9 || code == 0xa || code == 0xc || code == 0xd || code == 0x1680 ||
                       (code >= 0x200b && code <= 0x200f) || code == 0x2028 || code == 0x2029 ||
                       code == 0x2581 || code == 0xfeff || code == 0xfffd;
    if (space) {
      out += ' ';
    } else if (!dropped) {
      out += text;
    }
  });
}

void add_bert(const Json& definition, const std::string& where, std::vector<Step>& steps) {
  const bool lower = json_bool(definition, "lowercase", where);
  const bool accents =
      json_absent(definition, "strip_accents") ? lower : json_bool(definition, "strip_accents", where);
  if (json_bool(definition, "clean_text", where)) {
    steps.push_back(by_character([](std::string& out, std::string_view text, char32_t code) {
      const bool line = code == '\t' || code == '\n' || code == '\r';
      if (code == 0 || code == 0xfffd || (!line && is_control(code))) return;
      out += is_white_space(code) ? std::string_view(" ") : text;
    }));
  }
  if (json_bool(definition, "handle_chinese_chars", where)) {
    steps.push_back(by_character([](std::string& out, std::string_view text, char32_t code) {
      const std::string_view around = is_han_ideograph(code) ? " " : "";
      out.append(around).append(text).append(around);
    }));
  }
  if (accents) {
    steps.push_back(normal_form(NormalForm::nfd));
    steps.push_back(without(is_nonspacing_mark));
  }
  if (lower) steps.emplace_back(lower_cased);
}

/// The kinds that have no settings.
const std::map<std::string, Step>& plain_kinds() {
  static const std::map<std::string, Step> kinds = {
      {"NFC", normal_form(NormalForm::nfc)},
      {"NFD", normal_form(NormalForm::nfd)},
      {"NFKC", normal_form(NormalForm::nfkc)},
      {"NFKD", normal_form(NormalForm::nfkd)},
      {"Lowercase", lower_cased},
      {"StripAccents", without(is_mark)},
      {"Nmt", nmt()},
      {"ByteLevel",
       by_character([](std::string& out, std::string_view text, char32_t) { out += spell_bytes(text); })},
  };
  return kinds;
}

}  // namespace

Normalizer::Normalizer(const Json& definition, const std::string& where) {
  if (!definition.is_null()) add(definition, where);
}

void Normalizer::add(const Json& definition, const std::string& where) {
  const std::string type = json_string(definition, "type", where);
  if (const auto plain = plain_kinds().find(type); plain != plain_kinds().end()) {
    steps_.push_back(plain->second);
  } else if (type == "Sequence") {
    if (json_absent(definition, "normalizers") || !definition["normalizers"].is_array()) {
      throw InputError("normalizer Sequence has no list of normalizers", where, "replace the file");
    }
    for (const Json& step : definition["normalizers"]) add(step, where);
  } else if (type == "Strip") {
    steps_.push_back(
        strip(json_bool(definition, "strip_left", where), json_bool(definition, "strip_right", where)));
  } else if (type == "Prepend") {
    steps_.push_back(prepend(json_string(definition, "prepend", where)));
  } else if (type == "Replace") {
    steps_.push_back(replace(read_pattern(definition, "normalizer Replace", where),
                             json_string(definition, "content", where)));
  } else if (type == "Precompiled") {
    steps_.emplace_back([table = std::make_shared<Precompiled>(
                             json_string(definition, "precompiled_charsmap", where), where)](
                            std::string_view text, std::size_t& head) { return table->apply(text, head); });
  } else if (type == "BertNormalizer") {
    add_bert(definition, where, steps_);
  } else {
    throw InputError("normalizer '" + printable(type) + "' is not supported", where,
                     "tokenize elsewhere into Megatron .bin/.idx and give those files");
  }
}

std::string_view Normalizer::apply(std::string_view text, std::string& storage, std::size_t& head) const {
  if (steps_.empty()) return text;
  storage = steps_.front()(text, head);
  for (std::size_t i = 1; i < steps_.size(); ++i) storage = steps_[i](storage, head);
  return storage;
}

}  // namespace galapagos
