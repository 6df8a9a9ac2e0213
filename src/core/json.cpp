#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <string_view>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

namespace galapagos {
namespace {

constexpr int max_depth = 64;

const Json& member(const Json& object, const std::string& key, const std::string& where) {
  if (!object.is_object() || !object.contains(key)) {
    throw InputError("missing key '" + key + "'", where,
                     "check that the file is complete and of the expected kind");
  }
  return object.at(key);
}

[[noreturn]] void wrong_type(const std::string& key, const char* expected, const Json& value,
                             const std::string& where) {
  throw InputError(
      fmt::format("key '{}' should be {} but is {}", key, expected, printable(value.dump(-1, ' ', true), 60)),
      where, "check that the file is complete and of the expected kind");
}

/// Words that Python writes for what JSON has no numbers for become null, but in strings.
std::string without_non_numbers(const std::string& text) {
  constexpr std::string_view words[] = {"NaN", "-Infinity", "Infinity"};
  std::string result;
  result.reserve(text.size());
  bool inside = false;  // a string
  for (std::size_t i = 0; i < text.size();) {
    const auto* const word = std::ranges::find_if(
        words, [&](std::string_view one) { return std::string_view(text).substr(i).starts_with(one); });
    if (!inside && word != std::end(words)) {
      result += "null";
      i += word->size();
      continue;
    }
    if (text[i] == '"') inside = !inside;
    if (inside && text[i] == '\\') result += text[i++];  // and whatever it escapes
    if (i < text.size()) result += text[i++];
  }
  return result;
}

Json parse(const std::string& text, const std::string& where, bool duplicates) {
  // The parser takes a zero byte for the end of the text and would not see what follows.
  if (text.find('\0') != std::string::npos)
    throw InputError("not valid JSON: a zero byte", where, "replace the file");
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, Json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > max_depth) throw InputError("JSON is nested too deeply", where, "replace the file");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second && !duplicates) {
      throw InputError("duplicate JSON key '" + printable(parsed.get<std::string>()) + "'", where,
                       "replace the file");
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    throw InputError(std::string("not valid JSON: ") + error.what(), where, "replace the file");
  }
}

}  // namespace

Json parse_json(const std::string& text, const std::string& where) {
  return parse(text, where, false);
}

Json parse_json_leniently(const std::string& text, const std::string& where) {
  return parse(without_non_numbers(text), where, true);
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

std::int64_t json_integer(const Json& object, const std::string& key, std::int64_t low, std::int64_t high,
                          const std::string& where) {
  const Json& value = member(object, key, where);
  const bool fits =
      value.is_number_integer() &&
      !(value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX));
  if (!fits) wrong_type(key, "an integer", value, where);
  const auto number = value.get<std::int64_t>();
  if (number < low || number > high) {
    throw InputError(fmt::format("key '{}' is {}, outside {} to {}", key, number, low, high), where,
                     "check that the file is complete and of the expected kind");
  }
  return number;
}

double json_number(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_number()) wrong_type(key, "a number", value, where);
  return value.get<double>();
}

bool json_bool(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_boolean()) wrong_type(key, "true or false", value, where);
  return value.get<bool>();
}

std::string json_string(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_string()) wrong_type(key, "a string", value, where);
  return value.get<std::string>();
}

bool json_absent(const Json& object, const std::string& key) {
  return !object.is_object() || !object.contains(key) || object.at(key).is_null();
}

}  // namespace galapagos
