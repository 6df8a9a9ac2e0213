#include "target.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/io/mds.hpp>
#include <galapagos/io/text_reader.hpp>

// index.json, and a shard that lies there under all names by which an index of one shard calls it.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  const auto parts = cut(input, 2);
  folder.write("index.json", parts[0]);
  const bool raw = !parts[1].starts_with("\x28\xb5\x2f\xfd") && !parts[1].starts_with("\x1f\x8b");
  folder.write("shard.00000.mds", raw ? parts[1] : "", true);
  folder.write("shard.00000.mds.zstd", raw ? "" : parts[1], true);
  if (!is_mds_folder(folder.path())) return;
  MdsReader reader(folder.path());
  const auto column = mds_token_column(reader);
  std::vector<std::int32_t> ids;
  while (reader.next()) {
    for (std::size_t i = 0; i < reader.columns().size(); ++i)
      touch(std::as_bytes(std::span(reader.value(i))));
    if (column) read_mds_tokens(reader, *column, ids);
    reader.where();
  }
  if (column) return;
  DocumentReader documents(folder.path());
  for (std::vector<TextPart> document;;) {
    try {
      if (!documents.next(document)) break;
    } catch (const BadRecord&) {
    }
  }
}

const Target target("mds", read);

}  // namespace
}  // namespace galapagos::fuzz
