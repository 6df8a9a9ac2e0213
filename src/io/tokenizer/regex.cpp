#include "regex.hpp"

#include <climits>
#include <mutex>
#include <oniguruma.h>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/utf8.hpp>

namespace galapagos {
namespace {

const OnigUChar* uchars(const char* text) {
  return reinterpret_cast<const OnigUChar*>(text);
}

std::string reason(int code) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN] = {};
  const int length = onig_error_code_to_str(text, code);
  return std::string(reinterpret_cast<const char*>(text), static_cast<std::size_t>(length));
}

void initialise_engine() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
  });
}

using Region = std::unique_ptr<OnigRegion, void (*)(OnigRegion*)>;

}  // namespace

struct Regex::Compiled {
  regex_t* expression = nullptr;
  ~Compiled() { onig_free(expression); }
};

Regex::Regex(const std::string& pattern, std::string where)
    : compiled_(std::make_unique<Compiled>()), where_(std::move(where)) {
  initialise_engine();
  const char* begin = pattern.data();
  const int code = onig_new(&compiled_->expression, uchars(begin), uchars(begin + pattern.size()),
                            ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_ONIGURUMA, nullptr);
  if (code != ONIG_NORMAL) {
    throw InputError("regular expression '" + printable(pattern) + "' is not valid: " + reason(code), where_,
                     "replace the file");
  }
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

void Regex::for_each_match(std::string_view text,
                           const std::function<void(std::size_t, std::size_t)>& match) const {
  if (text.size() > std::size_t{INT_MAX}) {
    throw InputError("document is too long for regular expressions", where_,
                     "cut the document into shorter ones");
  }
  const Region region(onig_region_new(), [](OnigRegion* r) { onig_region_free(r, 1); });
  const OnigUChar* begin = uchars(text.data());
  const OnigUChar* end = begin + text.size();
  std::size_t done = 0;  // the end of the last match
  bool matched = false;  // there is a last match
  std::size_t from = 0;  // where to search on
  while (from <= text.size()) {
    const int found =
        onig_search(compiled_->expression, begin, end, begin + from, end, region.get(), ONIG_OPTION_NONE);
    if (found == ONIG_MISMATCH) break;
    if (found < 0) {
      throw InputError("regular expression cannot be applied to a document: " + reason(found), where_,
                       "cut the document into shorter ones");
    }
    const auto first = static_cast<std::size_t>(region->beg[0]);
    const auto last = static_cast<std::size_t>(region->end[0]);
    if (first == last && matched && last == done) {  // nothing, right behind the last match: step on
      from += from < text.size() ? utf8_length(text, from) : 1;
      continue;
    }
    match(first, last);
    matched = true;
    done = last;
    from = last;
  }
}

}  // namespace galapagos
