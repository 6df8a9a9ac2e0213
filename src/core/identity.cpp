#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos {

void check_identity(const std::string& found, const std::string& wanted, const std::string& run,
                    const std::string& path, std::span<const FormerNumber> former) {
  if (found == wanted) return;
  Json a = parse_json(found, path);
  const Json b = parse_json(wanted, "this " + run);
  for (const FormerNumber& one : former) {
    if (!a.contains(one.key) || !a[one.key].is_number_unsigned()) continue;
    const auto number = a[one.key].get<std::size_t>();
    if (number < one.names.size()) a[one.key] = one.names[number];
  }
  const auto value_in = [](const Json& json, const std::string& key) {
    return json.contains(key) ? printable(json[key].dump(), 200) : std::string("not there");
  };
  // An option that there was not yet is what its default says, which is to do as before; -1 is a number that
  // was not given.
  const auto stands_for_none = [](const Json& value) {
    return value == "" || value == false || value == 0 || value == -1 || value.is_null();
  };
  for (const Json* side : {&b, static_cast<const Json*>(&a)}) {
    for (const auto& [key, unused] : side->items()) {
      if (a.contains(key) && b.contains(key) && a[key] == b[key]) continue;
      if (!a.contains(key) && stands_for_none(b[key])) continue;
      throw InputError(fmt::format("the checkpoint belongs to another {}: '{}' was {} and is {} now", run,
                                   key, value_in(a, key), value_in(b, key)),
                       path,
                       "give the options it was begun with, another --output, or --fresh to begin anew");
    }
  }
}

}  // namespace galapagos
