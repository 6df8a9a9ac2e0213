#include "normalizer.hpp"

#include <optional>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

void check(UErrorCode status) {
  if (U_SUCCESS(status)) return;
  throw FailureError(std::string("cannot bring a text into the normal form NFC: ") + u_errorName(status),
                     "ICU", "check the installation of ICU");
}

/// NFC by the tables of Unicode 9, which the Hugging Face tokenizers use: later characters, above all
/// combining marks, stay as and where they are.
class Unicode9Nfc {
 public:
  Unicode9Nfc() {
    characters_.applyPattern("[:age=9.0:]", status_).freeze();
    const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status_);
    check(status_);
    normalizer_.emplace(*nfc, characters_);
  }

  std::string operator()(std::string_view text) const {
    const auto size = static_cast<std::int32_t>(text.size());
    std::string out;
    icu::StringByteSink<std::string> sink(&out, size);
    UErrorCode status = U_ZERO_ERROR;
    normalizer_->normalizeUTF8(0, icu::StringPiece(text.data(), size), sink, nullptr, status);
    check(status);
    return out;
  }

 private:
  UErrorCode status_ = U_ZERO_ERROR;
  icu::UnicodeSet characters_;
  std::optional<icu::FilteredNormalizer2> normalizer_;
};

std::string nfc(std::string_view text) {
  static const Unicode9Nfc normalizer;
  return normalizer(text);
}

std::string replace_all(std::string_view text, const std::string& pattern, const std::string& content) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t at; (at = text.find(pattern, done)) != std::string_view::npos;
       done = at + pattern.size()) {
    out.append(text, done, at - done).append(content);
  }
  return out.append(text, done);
}

}  // namespace

Normalizer::Normalizer(const Json& definition, const std::string& where) {
  if (!definition.is_null()) add(definition, where);
}

void Normalizer::add(const Json& definition, const std::string& where) {
  const std::string type = json_string(definition, "type", where);
  if (type == "Sequence") {
    if (json_absent(definition, "normalizers") || !definition["normalizers"].is_array()) {
      throw InputError("normalizer Sequence has no list of normalizers", where, "replace the file");
    }
    for (const Json& step : definition["normalizers"]) add(step, where);
  } else if (type == "NFC") {
    steps_.emplace_back(nfc);
  } else if (type == "Prepend") {
    steps_.emplace_back([prefix = json_string(definition, "prepend", where)](std::string_view text) {
      return text.empty() ? std::string() : prefix + std::string(text);
    });
  } else if (type == "Replace") {
    if (json_absent(definition, "pattern") || json_absent(definition["pattern"], "String")) {
      throw InputError("normalizer Replace with a regular expression is not supported", where,
                       "use a tokenizer that replaces fixed strings");
    }
    const std::string pattern = json_string(definition["pattern"], "String", where);
    if (pattern.empty()) throw InputError("normalizer Replace of nothing", where, "replace the file");
    steps_.emplace_back([pattern, content = json_string(definition, "content", where)](
                            std::string_view text) { return replace_all(text, pattern, content); });
  } else {
    throw InputError("normalizer '" + printable(type) + "' is not supported", where,
                     "tokenize elsewhere into Megatron .bin/.idx and give those files");
  }
}

std::string_view Normalizer::apply(std::string_view text, std::string& storage) const {
  if (steps_.empty()) return text;
  storage = steps_.front()(text);
  for (std::size_t i = 1; i < steps_.size(); ++i) storage = steps_[i](storage);
  return storage;
}

}  // namespace galapagos
