#pragma once

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

  /// Cuts the whole text into its matches and the gaps between them, in order, none of them empty. InputError
  /// where the engine gives up (its limit on backtracking).
  void split(std::string_view text, const std::function<void(std::string_view)>& piece) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
  std::string where_;
};

}  // namespace galapagos
