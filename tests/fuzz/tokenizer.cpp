#include "target.hpp"
#include "tokenizer_use.hpp"

// tokenizer.json, a text, and tokenizer_config.json.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  const auto parts = cut(input, 3);
  folder.write("tokenizer.json", parts[0]);
  folder.write("tokenizer_config.json", parts[2], true);
  use(*Tokenizer::load(folder.path()), parts[1]);
}

const Target target("tokenizer", read);

}  // namespace
}  // namespace galapagos::fuzz
