#pragma once

#include <cstdint>
#include <string>

#include <galapagos/core/json.hpp>
#include <galapagos/report/run_data.hpp>

// Members of JSON that may be missing or of another type.
namespace galapagos::report {

/// What cannot be parsed is discarded, which is no object and has no members.
inline Json parsed(const std::string& text) {
  return Json::parse(text, nullptr, false);
}

inline const Json* member(const Json& json, const std::string& key) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(key);
  return found == json.end() ? nullptr : &*found;
}

inline double number_of(const Json& json, const std::string& key) {
  const Json* found = member(json, key);
  return found != nullptr && found->is_number() ? found->get<double>() : unknown;
}

inline std::int64_t integer_of(const Json& json, const std::string& key, std::int64_t otherwise = -1) {
  const Json* found = member(json, key);
  return found != nullptr && found->is_number_integer() ? found->get<std::int64_t>() : otherwise;
}

inline std::string text_of(const Json& json, const std::string& key) {
  const Json* found = member(json, key);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

inline bool flag_of(const Json& json, const std::string& key) {
  const Json* found = member(json, key);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

/// Its members that are numbers.
NamedNumbers numbers_in(const Json* json);
/// Empty where any of it is no level.
Levels levels_of(const Json* json);

}  // namespace galapagos::report
