#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Text of XML, by which pictures and the page around them are made. Whatever stands in a run's files goes
// through escaped().
namespace galapagos::report {

/// As text or as an attribute's value: markup is escaped; control characters and what is not UTF-8 become
/// U+FFFD.
std::string escaped(std::string_view text);

using Attributes = std::vector<std::pair<const char*, std::string>>;

/// "<name ...>content</name>"; the values are escaped, the content is markup.
std::string element(const char* name, const Attributes& attributes, const std::string& content = {});

/// A coordinate with a decimal at most.
std::string coordinate(double value);

/// A picture; coordinates in px from the top left.
class Svg {
 public:
  Svg(double width, double height, std::string label)
      : width_(width), height_(height), label_(std::move(label)) {}

  /// `style` is a class of the page's style sheet; `title` is shown under the pointer.
  void line(double x1, double y1, double x2, double y2, const std::string& style);
  void path(const std::string& d, const std::string& style, const std::string& colour = {});
  void circle(double x, double y, double radius, const std::string& style, const std::string& colour = {},
              const std::string& title = {});
  void rect(double x, double y, double width, double height, const std::string& style,
            const std::string& colour = {}, const std::string& title = {});
  enum class Anchor { start, middle, end };
  void text(double x, double y, const std::string& content, Anchor anchor = Anchor::start,
            const std::string& style = {}, const std::string& colour = {});
  /// Upwards along an axis.
  void upright(double x, double y, const std::string& content);
  void open(const Attributes& attributes);
  void close() { body_ += "</g>"; }

  std::string str() const;

 private:
  void add(const char* name, Attributes attributes, const std::string& style, const std::string& colour,
           const std::string& title);

  double width_, height_;
  std::string label_, body_;
};

}  // namespace galapagos::report
