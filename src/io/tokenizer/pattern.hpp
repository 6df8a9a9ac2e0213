#pragma once

#include "regex.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <variant>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// What a tokenizer.json looks for in a text: a string, a regular expression, or every character of a class.
class Pattern {
 public:
  using Class = bool (*)(char32_t);

  explicit Pattern(std::string text) : what_(std::move(text)) {}
  explicit Pattern(Regex regex) : what_(std::move(regex)) {}
  explicit Pattern(Class characters) : what_(characters) {}

  /// Calls part(begin, end, matches) for the matches, which may be empty, and the gaps between them, in
  /// order; together they cover the text.
  using Part = std::function<void(std::size_t begin, std::size_t end, bool matches)>;
  void for_each_part(std::string_view text, const Part& part) const;

 private:
  std::variant<std::string, Regex, Class> what_;
};

/// The `pattern` of `definition`: {"String": ...} or {"Regex": ...}. InputError (naming `where`) where there
/// is none.
Pattern read_pattern(const Json& definition, const std::string& whose, const std::string& where);

/// What becomes of the matches where a text is cut at a pattern.
enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// "Isolated" and so on. InputError (naming `where`) for another word.
Behavior read_behavior(const std::string& name, const std::string& whose, const std::string& where);

/// Cuts texts at a pattern.
class Cut {
 public:
  /// `invert`: what lies between matches counts as the matches.
  Cut(Pattern pattern, Behavior behavior, bool invert = false)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  /// Hands the pieces that are not empty to `sink`, in order.
  void split(std::string_view text, const std::function<void(std::string_view)>& sink) const;

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

}  // namespace galapagos
