#include "../utf8.hpp"
#include "budget.hpp"
#include "value.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/utf8.hpp>

namespace galapagos::jinja {
namespace {

/// As Python's json.dumps.
class Writer {
 public:
  Writer(int indent, bool ascii, bool sort_keys, const std::string& item_separator,
         const std::string& key_separator)
      : indent_(indent), ascii_(ascii), sort_keys_(sort_keys), items_(item_separator), keys_(key_separator) {}

  std::string take() { return std::move(out_); }

  void write(const Value& value) {
    spend(step_cost);
    if (value.is_lazy()) fail("writes what a filter such as map has made as JSON");
    if (value.text() != nullptr) {
      text(*value.text());
    } else if (value.list() != nullptr) {
      const List& list = *value.list();
      group('[', ']', list.size(), [&](std::size_t i) { write(list[i]); });
    } else if (value.dict() != nullptr) {
      std::vector<const Dict::value_type*> entries;
      for (const auto& entry : *value.dict()) entries.push_back(&entry);
      if (sort_keys_)
        std::sort(entries.begin(), entries.end(), [](auto* a, auto* b) { return a->first < b->first; });
      group('{', '}', entries.size(), [&](std::size_t i) {
        text(entries[i]->first);
        out_ += keys_;
        write(entries[i]->second);
      });
    } else if (value.is_none()) {
      out_ += "null";
    } else if (value.boolean() != nullptr) {
      out_ += *value.boolean() ? "true" : "false";
    } else if (value.real() != nullptr && !std::isfinite(*value.real())) {
      out_ += std::isnan(*value.real()) ? "NaN" : *value.real() < 0 ? "-Infinity" : "Infinity";
    } else if (value.integer() != nullptr || value.real() != nullptr) {
      out_ += printed(value);
    } else {
      fail(std::string("writes ") + value.kind() + " as JSON");
    }
  }

 private:
  template <typename WriteItem>
  void group(char open, char close, std::size_t size, const WriteItem& item) {
    out_ += open;
    ++depth_;
    for (std::size_t i = 0; i < size; ++i) {
      spend(items_.size() + keys_.size() + static_cast<std::size_t>(std::max(indent_, 0) * depth_));
      if (i > 0) out_ += items_;
      new_line();
      item(i);
    }
    --depth_;
    if (size > 0) new_line();
    out_ += close;
  }

  void new_line() {
    if (indent_ >= 0) out_.append("\n").append(static_cast<std::size_t>(indent_ * depth_), ' ');
  }

  void text(const std::string& value) {
    spend(2 * value.size());
    out_ += '"';
    for (std::size_t at = 0; at < value.size();) {
      const std::size_t bytes = std::max<std::size_t>(utf8_length(value, at), 1);
      character(value.substr(at, bytes), decode_utf8(value, at, bytes));
      at += bytes;
    }
    out_ += '"';
  }

  void character(const std::string& bytes, char32_t code) {
    constexpr std::string_view named = "\"\\\n\r\t\b\f", letters = "\"\\nrtbf";
    const std::size_t at = code < 0x80 ? named.find(static_cast<char>(code)) : std::string_view::npos;
    if (at != std::string_view::npos) {
      out_.append("\\").append(1, letters[at]);
    } else if (code < 0x20 || (ascii_ && code > 0x7e && code < 0x10000)) {
      out_ += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(code));
    } else if (ascii_ && code >= 0x10000) {
      const auto pair = static_cast<std::uint32_t>(code) - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (pair >> 10), 0xdc00 + (pair & 0x3ff));
    } else {
      out_ += bytes;
    }
  }

  int indent_;
  bool ascii_, sort_keys_;
  const std::string& items_;
  const std::string& keys_;
  int depth_ = 0;
  std::string out_;
};

}  // namespace

std::string to_json(const Value& value, int indent, bool ascii, bool sort_keys,
                    const std::string& item_separator, const std::string& key_separator) {
  Writer writer(indent, ascii, sort_keys, item_separator, key_separator);
  writer.write(value);
  return writer.take();
}

}  // namespace galapagos::jinja
