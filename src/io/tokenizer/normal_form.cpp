#include "normal_form.hpp"

#include <optional>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

void check(UErrorCode status) {
  if (U_SUCCESS(status)) return;
  throw FailureError(std::string("cannot bring a text into a normal form: ") + u_errorName(status), "ICU",
                     "check the installation of ICU");
}

using Instance = const icu::Normalizer2* (*)(UErrorCode&);

class Unicode9Normalizer {
 public:
  explicit Unicode9Normalizer(Instance instance) {
    characters_.applyPattern("[:age=9.0:]", status_).freeze();
    const icu::Normalizer2* all = instance(status_);
    check(status_);
    normalizer_.emplace(*all, characters_);
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

}  // namespace

std::string normalized(std::string_view text, NormalForm form) {
  switch (form) {
    case NormalForm::nfc: {
      static const Unicode9Normalizer normalizer(icu::Normalizer2::getNFCInstance);
      return normalizer(text);
    }
    case NormalForm::nfd: {
      static const Unicode9Normalizer normalizer(icu::Normalizer2::getNFDInstance);
      return normalizer(text);
    }
    case NormalForm::nfkc: {
      static const Unicode9Normalizer normalizer(icu::Normalizer2::getNFKCInstance);
      return normalizer(text);
    }
    case NormalForm::nfkd: {
      static const Unicode9Normalizer normalizer(icu::Normalizer2::getNFKDInstance);
      return normalizer(text);
    }
  }
  return std::string(text);
}

}  // namespace galapagos
