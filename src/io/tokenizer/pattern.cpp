#include "pattern.hpp"

#include "characters.hpp"

#include <map>
#include <utility>
#include <vector>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

/// Hands on matches, which come in order, and the gaps between them.
class Parts {
 public:
  Parts(std::string_view text, const Pattern::Part& part) : text_(text), part_(part) {}

  void match(std::size_t begin, std::size_t end) {
    gap(begin);
    part_(begin, end, true);
    done_ = end;
  }
  void finish() { gap(text_.size()); }

 private:
  void gap(std::size_t end) {
    if (done_ < end) part_(done_, end, false);
  }

  std::string_view text_;
  const Pattern::Part& part_;
  std::size_t done_ = 0;
};

struct Piece {
  std::size_t begin;
  std::size_t end;
  bool matches;
};

/// Whether the piece at i belongs to the one before it.
bool joins_previous(const std::vector<Piece>& pieces, std::size_t i, Behavior behavior) {
  const bool here = pieces[i].matches;
  const bool before = pieces[i - 1].matches;
  switch (behavior) {
    case Behavior::contiguous:
      return here == before;
    case Behavior::merged_with_previous:
      return here && !before;
    case Behavior::merged_with_next:
      return before && !here;
    default:
      return false;
  }
}

}  // namespace

void Pattern::for_each_part(std::string_view text, const Part& part) const {
  Parts parts(text, part);
  const auto match = [&](std::size_t begin, std::size_t end) { parts.match(begin, end); };
  if (const auto* regex = std::get_if<Regex>(&what_)) {
    regex->for_each_match(text, match);
  } else if (const auto* characters = std::get_if<Class>(&what_)) {
    for_each_character(text, [&](std::size_t begin, std::size_t length, char32_t code) {
      if ((*characters)(code)) match(begin, begin + length);
    });
  } else {
    const std::string& wanted = std::get<std::string>(what_);
    for (std::size_t at = text.find(wanted); at != std::string_view::npos;
         at = text.find(wanted, at + wanted.size()))
      match(at, at + wanted.size());
  }
  parts.finish();
}

Pattern read_pattern(const Json& definition, const std::string& whose, const std::string& where) {
  const Json pattern = json_absent(definition, "pattern") ? Json() : definition["pattern"];
  if (pattern.is_object() && !json_absent(pattern, "Regex"))
    return Pattern(Regex(json_string(pattern, "Regex", where), where));
  if (!pattern.is_object() || json_absent(pattern, "String"))
    throw InputError(whose + " has no pattern", where, "replace the file");
  const std::string text = json_string(pattern, "String", where);
  return text.empty() ? Pattern(Regex("", where)) : Pattern(text);
}

Behavior read_behavior(const std::string& name, const std::string& whose, const std::string& where) {
  static const std::map<std::string, Behavior> names = {
      {"Removed", Behavior::removed},
      {"Isolated", Behavior::isolated},
      {"MergedWithPrevious", Behavior::merged_with_previous},
      {"MergedWithNext", Behavior::merged_with_next},
      {"Contiguous", Behavior::contiguous}};
  const auto found = names.find(name);
  if (found != names.end()) return found->second;
  throw InputError(whose + " has an unknown behavior '" + printable(name) + "'", where, "replace the file");
}

void Cut::split(std::string_view text, const std::function<void(std::string_view)>& sink) const {
  const auto hand_on = [&](std::size_t begin, std::size_t end) {
    if (begin < end) sink(text.substr(begin, end - begin));
  };
  if (behavior_ == Behavior::isolated || behavior_ == Behavior::removed) {
    pattern_.for_each_part(text, [&](std::size_t begin, std::size_t end, bool matches) {
      if (behavior_ == Behavior::isolated || matches == invert_) hand_on(begin, end);
    });
    return;
  }
  std::vector<Piece> pieces;  // an empty one counts in what its neighbours belong to
  pattern_.for_each_part(text, [&](std::size_t begin, std::size_t end, bool matches) {
    pieces.push_back({begin, end, matches != invert_});
  });
  for (std::size_t i = 0; i < pieces.size();) {
    const std::size_t first = i++;
    while (i < pieces.size() && joins_previous(pieces, i, behavior_)) ++i;
    hand_on(pieces[first].begin, pieces[i - 1].end);
  }
}

}  // namespace galapagos
