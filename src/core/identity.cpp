#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos {

void check_identity(const std::string& found, const std::string& wanted, const std::string& run,
                    const std::string& path) {
  if (found == wanted) return;
  const Json a = parse_json(found, path), b = parse_json(wanted, "this " + run);
  for (const auto& [key, value] : b.items()) {
    if (a.contains(key) && a[key] == value) continue;
    throw InputError(fmt::format("the checkpoint belongs to another {}: '{}' was {} and is {} now", run, key,
                                 a.contains(key) ? printable(a[key].dump(), 200) : "not there",
                                 printable(value.dump(), 200)),
                     path, "give the options it was begun with, or another --output");
  }
  throw InputError("the checkpoint belongs to another " + run, path, "choose another --output");
}

}  // namespace galapagos
