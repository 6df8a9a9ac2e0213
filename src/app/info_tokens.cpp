#include "info.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/mds.hpp>
#include <galapagos/io/token_file.hpp>

namespace galapagos::app {

Description describe_tokens(const std::filesystem::path& path) {
  const TokenFile file = TokenFile::open(path);
  std::uint64_t shortest = 0, longest = 0;
  for (std::size_t i = 0; i < file.documents(); ++i) {
    const std::uint64_t length = file.length(i);
    shortest = i == 0 ? length : std::min(shortest, length);
    longest = std::max(longest, length);
  }
  Description description;
  description.text = fmt::format(
      "{}\ndocuments      {}\ntokens         {} of {} bytes\nlengths        {} to {}\n", file.description(),
      human_count(file.documents()), human_count(file.tokens()), file.bytes_per_token(), shortest, longest);
  description.json["kind"] = "tokens";
  description.json["documents"] = file.documents();
  description.json["tokens"] = file.tokens();
  description.json["bytes_per_token"] = file.bytes_per_token();
  description.json["shortest"] = shortest;
  description.json["longest"] = longest;
  return description;
}

Description describe_shards(const std::filesystem::path& folder) {
  const MdsReader reader(folder);
  std::string columns;
  Description description;
  description.json["kind"] = "mds";
  for (const MdsColumn& column : reader.columns()) {
    columns += fmt::format("{}{} ({})", columns.empty() ? "" : ", ", printable(column.name),
                           printable(column.encoding));
    description.json["columns"][column.name] = column.encoding;
  }
  description.text = fmt::format("MDS shards\nshards         {}\nsamples        {}\ncolumns        {}\n",
                                 human_count(reader.shards()), human_count(reader.samples()), columns);
  description.json["shards"] = reader.shards();
  description.json["samples"] = reader.samples();
  return description;
}

}  // namespace galapagos::app
