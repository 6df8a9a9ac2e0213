#include "xml_check.hpp"

#include <cctype>
#include <set>
#include <vector>

namespace galapagos::test {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) {}

  std::string fault() {
    if (text_.starts_with("<!DOCTYPE")) at_ = text_.find('>') + 1;
    bool root = false;
    while (at_ < text_.size() && fault_.empty()) {
      if (text_[at_] == '<') {
        root = true;
        tag();
      } else if (text_[at_] == '&') {
        entity();
      } else {
        if (open_.empty() && std::isspace(static_cast<unsigned char>(text_[at_])) == 0) wrong("text outside");
        ++at_;
      }
    }
    if (!root) wrong("nothing in it");
    if (!open_.empty()) wrong("not closed: " + open_.back());
    return fault_;
  }

 private:
  void wrong(const std::string& what) {
    if (fault_.empty()) fault_ = what + " at byte " + std::to_string(at_) + ": " + text_.substr(at_, 60);
  }
  bool next(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string name() {
    const std::size_t from = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '-' || text_[at_] == ':' || text_[at_] == '_'))
      ++at_;
    if (at_ == from) wrong("no name");
    return text_.substr(from, at_ - from);
  }
  void blanks() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  void entity() {
    const std::size_t end = text_.find(';', at_);
    static const std::set<std::string> known = {"&amp", "&lt", "&gt", "&quot", "&#39"};
    if (end == std::string::npos || !known.contains(text_.substr(at_, end - at_))) return wrong("a bare &");
    at_ = end + 1;
  }
  void value() {
    if (!next('"')) return wrong("no quotes");
    while (at_ < text_.size() && text_[at_] != '"' && fault_.empty()) {
      if (text_[at_] == '<') return wrong("< in a value");
      if (text_[at_] == '&')
        entity();
      else
        ++at_;
    }
    if (!next('"')) wrong("no end of a value");
  }
  void tag() {
    ++at_;
    if (next('/')) {
      const std::string ended = name();
      if (open_.empty() || open_.back() != ended) return wrong("closes " + ended);
      open_.pop_back();
      if (!next('>')) wrong("no end of a tag");
      return;
    }
    const std::string begun = name();
    std::set<std::string> seen;
    while (fault_.empty()) {
      blanks();
      if (next('>')) return open_.push_back(begun);
      if (next('/')) {
        if (!next('>')) wrong("no end of a tag");
        return;
      }
      if (!seen.insert(name()).second) return wrong("an attribute twice");
      if (!next('=')) return wrong("an attribute without a value");
      value();
    }
  }

  const std::string& text_;
  std::size_t at_ = 0;
  std::vector<std::string> open_;
  std::string fault_;
};

}  // namespace

std::string xml_fault(const std::string& text) {
  return Reader(text).fault();
}

}  // namespace galapagos::test
