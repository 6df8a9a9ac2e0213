#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace galapagos {

/// An Oniguruma regular expression over UTF-8, the engine that the Hugging Face tokenizers use.
class Regex {
 public:
  /// InputError (naming `where`) where the pattern is not valid.
  Regex(const std::string& pattern, std::string where);
  ~Regex();
  Regex(Regex&&) noexcept;

  /// Calls match(begin, end) for the leftmost matches that do not overlap, in order; they may be empty, but
  /// not right behind another. InputError where the engine gives up (its limit on backtracking).
  void for_each_match(std::string_view text,
                      const std::function<void(std::size_t begin, std::size_t end)>& match) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
  std::string where_;
};

}  // namespace galapagos
