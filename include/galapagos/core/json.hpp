#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace galapagos {

/// Keeps the order of keys as written, so that what we write is stable.
using Json = nlohmann::ordered_json;

/// Parses a JSON text; refuses duplicate keys and nesting deeper than 64. `where` names the source in the
/// InputError.
Json parse_json(const std::string& text, const std::string& where);

/// What Python's json module takes, for files that others write: NaN and Infinity become null, of duplicate
/// keys the last one counts.
Json parse_json_leniently(const std::string& text, const std::string& where);

/// Reads and parses a JSON file (parse_json); InputError where it is missing or unreadable.
Json read_json(const std::filesystem::path& path);

/// The integer / number / bool / string under `key`, InputError (naming `where`) where it is missing or of
/// another type or, for integers, outside [low, high].
std::int64_t json_integer(const Json& object, const std::string& key, std::int64_t low, std::int64_t high,
                          const std::string& where);
double json_number(const Json& object, const std::string& key, const std::string& where);
bool json_bool(const Json& object, const std::string& key, const std::string& where);
std::string json_string(const Json& object, const std::string& key, const std::string& where);

/// True where `key` is absent or null.
bool json_absent(const Json& object, const std::string& key);

}  // namespace galapagos
