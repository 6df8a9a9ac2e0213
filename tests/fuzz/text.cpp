#include "target.hpp"

#include <stdexcept>

#include <galapagos/core/utf8.hpp>
#include <galapagos/io/text_reader.hpp>

// A byte that says how, and a file of text or records, compressed or not.
namespace galapagos::fuzz {
namespace {

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

constexpr const char* names[] = {"x.jsonl", "x.json", "x.txt", "x"};

void read(std::string_view input) {
  static const Folder folder;
  const unsigned how = take_byte(input);
  const auto path = folder.write(names[how % 4], input);
  TextOptions options;
  options.allow_invalid_utf8 = (how & 4) != 0;
  if ((how & 8) != 0) options.text_key = "data.body";
  DocumentReader reader(path, options, (how & 16) != 0);
  for (std::vector<TextPart> document;;) {
    try {
      if ((how & 32) != 0 && !reader.skip()) break;
      if (!reader.next(document)) break;
      for (const TextPart& part : document)
        if (!is_utf8(part.text)) throw std::logic_error("a document that is no UTF-8");
    } catch (const BadRecord&) {
    }
  }
}

const Target target("text", read);

}  // namespace
}  // namespace galapagos::fuzz
