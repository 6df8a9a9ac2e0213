#include "lenient.hpp"

#include <limits>

namespace galapagos::report {

NamedNumbers numbers_in(const Json* json) {
  NamedNumbers found;
  if (json == nullptr || !json->is_object()) return found;
  for (const auto& [name, value] : json->items())
    if (value.is_number()) found.emplace_back(name, value.get<double>());
  return found;
}

Levels levels_of(const Json* json) {
  Levels levels;
  if (json == nullptr || !json->is_array()) return levels;
  for (const Json& level : *json) {
    if (!level.is_number_integer()) return {};
    const auto value = level.get<std::int64_t>();
    if (value < 0 || value > std::numeric_limits<std::int16_t>::max()) return {};
    levels.push_back(static_cast<std::int16_t>(value));
  }
  return levels;
}

}  // namespace galapagos::report
