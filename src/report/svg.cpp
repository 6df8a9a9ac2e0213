#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/utf8.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

constexpr const char* replacement = "\xEF\xBF\xBD";

/// What XML has no place for though it is UTF-8: U+FFFE and U+FFFF.
bool is_no_character(std::string_view sequence) {
  return sequence == "\xEF\xBF\xBE" || sequence == "\xEF\xBF\xBF";
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string safe;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    const char c = text[at];
    if (length == 0) {
      safe += replacement;
    } else if (length > 1) {
      const std::string_view sequence = text.substr(at, length);
      safe += is_no_character(sequence) ? replacement : sequence;
    } else if (c == '&') {
      safe += "&amp;";
    } else if (c == '<') {
      safe += "&lt;";
    } else if (c == '>') {
      safe += "&gt;";
    } else if (c == '"') {
      safe += "&quot;";
    } else if (c == '\'') {
      safe += "&#39;";
    } else if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
      safe += replacement;
    } else {
      safe += c;
    }
    at += std::max<std::size_t>(length, 1);
  }
  return safe;
}

std::string element(const char* name, const Attributes& attributes, const std::string& content) {
  std::string text = fmt::format("<{}", name);
  for (const auto& [key, value] : attributes) text += fmt::format(" {}=\"{}\"", key, escaped(value));
  return text + (content.empty() ? "/>" : fmt::format(">{}</{}>", content, name));
}

std::string coordinate(double value) {
  if (!std::isfinite(value)) return "0";
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

void Svg::add(const char* name, Attributes attributes, const std::string& style, const std::string& colour,
              const std::string& title) {
  if (!style.empty()) attributes.emplace_back("class", style);
  if (!colour.empty()) attributes.emplace_back("style", colour);
  body_ += element(name, attributes, title.empty() ? "" : "<title>" + escaped(title) + "</title>");
}

void Svg::line(double x1, double y1, double x2, double y2, const std::string& style) {
  add("line",
      {{"x1", coordinate(x1)}, {"y1", coordinate(y1)}, {"x2", coordinate(x2)}, {"y2", coordinate(y2)}}, style,
      "", "");
}

void Svg::path(const std::string& d, const std::string& style, const std::string& colour) {
  add("path", {{"d", d}}, style, colour, "");
}

void Svg::circle(double x, double y, double radius, const std::string& style, const std::string& colour,
                 const std::string& title) {
  add("circle", {{"cx", coordinate(x)}, {"cy", coordinate(y)}, {"r", coordinate(radius)}}, style, colour,
      title);
}

void Svg::rect(double x, double y, double width, double height, const std::string& style,
               const std::string& colour, const std::string& title) {
  add("rect",
      {{"x", coordinate(x)},
       {"y", coordinate(y)},
       {"width", coordinate(width)},
       {"height", coordinate(height)}},
      style, colour, title);
}

void Svg::text(double x, double y, const std::string& content, Anchor anchor, const std::string& style,
               const std::string& colour) {
  Attributes attributes = {{"x", coordinate(x)}, {"y", coordinate(y)}};
  if (anchor == Anchor::middle) attributes.emplace_back("text-anchor", "middle");
  if (anchor == Anchor::end) attributes.emplace_back("text-anchor", "end");
  if (!style.empty()) attributes.emplace_back("class", style);
  if (!colour.empty()) attributes.emplace_back("style", colour);
  body_ += element("text", attributes, escaped(content));
}

void Svg::upright(double x, double y, const std::string& content) {
  body_ += element("text",
                   {{"text-anchor", "middle"},
                    {"class", "axis"},
                    {"transform", fmt::format("translate({} {}) rotate(-90)", coordinate(x), coordinate(y))}},
                   escaped(content));
}

void Svg::open(const Attributes& attributes) {
  body_ += "<g";
  for (const auto& [key, value] : attributes) body_ += fmt::format(" {}=\"{}\"", key, escaped(value));
  body_ += ">";
}

std::string Svg::str() const {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "role=\"img\" "
      "aria-label=\"{2}\">{3}</svg>",
      coordinate(width_), coordinate(height_), escaped(label_), body_);
}

}  // namespace galapagos::report
