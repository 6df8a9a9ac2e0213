#include "target.hpp"
#include "tokenizer_use.hpp"

// A line of text, and tokenizer.model.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  const std::size_t end = std::min(input.find('\n'), input.size());
  folder.write("tokenizer.model", input.substr(std::min(end + 1, input.size())));
  use(*Tokenizer::load(folder.path()), input.substr(0, end));
}

const Target target("sentencepiece", read);

}  // namespace
}  // namespace galapagos::fuzz
