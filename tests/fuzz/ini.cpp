#include "target.hpp"

#include <galapagos/core/options.hpp>
#include <galapagos/pruning/database_options.hpp>
#include <galapagos/search/search_options.hpp>

// A configuration file of two commands.
namespace galapagos::fuzz {
namespace {

template <typename Asked>
void read_as(const std::filesystem::path& file) {
  Asked asked;
  Options list;
  bind(list, asked);
  list.parse({"--config", file.string()});
  list.resolved();
  list.require_all();
  list.take();
  list.check();
  check_options(asked);
  list.identity();
  if constexpr (requires { resolve(asked); }) resolve(asked);
}

void read(std::string_view input) {
  static const Folder folder;
  const bool database = take_byte(input) % 2 == 1;
  const auto file = folder.write("x.ini", input);
  if (database) {
    read_as<DatabaseOptions>(file);
  } else {
    read_as<SearchOptions>(file);
  }
}

const Target target("ini", read);

}  // namespace
}  // namespace galapagos::fuzz
