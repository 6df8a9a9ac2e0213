#include "target.hpp"

#include <algorithm>

#include <galapagos/io/token_file.hpp>

// Two bytes with the size of an .idx, that, and a .bin; without an .idx one of llm.c.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  const unsigned low = take_byte(input);
  const std::size_t size = std::min<std::size_t>(low + 256 * take_byte(input), input.size());
  folder.write("x.idx", input.substr(0, size), true);
  const auto path = folder.write("x.bin", input.substr(size));
  if (!is_token_file(path)) return;
  const TokenFile file = TokenFile::open(path);
  file.description();
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < std::min<std::size_t>(file.documents(), 1000); ++i) {
    if (file.length(i) > file.tokens()) throw std::logic_error("a document longer than the file");
    file.read(i, ids, 4096);
  }
}

const Target target("megatron", read);

}  // namespace
}  // namespace galapagos::fuzz
