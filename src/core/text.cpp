#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  static constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes) / 1024.0;
  int unit = 0;
  while (value >= 1024.0 && unit < 4) {
    value /= 1024.0;
    ++unit;
  }
  return fmt::format("{:.2f} {}", value, units[unit]);
}

std::string human_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string human_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "unknown";
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  const auto clock = fmt::format("{:02}:{:02}:{:02}", whole / 3600 % 24, whole / 60 % 60, whole % 60);
  return whole >= 86400 ? fmt::format("{}d {}", whole / 86400, clock) : clock;
}

std::uint64_t parse_bytes(const std::string& text, const std::string& option) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  std::string unit(end);
  unit.erase(0, unit.find_first_not_of(' '));
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static constexpr const char* prefixes = "kmgtp";
  double scale = 1;
  bool valid = end != text.c_str() && std::isfinite(value) && value >= 0;
  if (!unit.empty() && unit != "b") {
    const std::string_view names(prefixes);
    const auto at = names.find(unit[0]);
    valid = valid && at != std::string_view::npos &&
            (unit.size() == 1 || unit.substr(1) == "b" || unit.substr(1) == "ib");
    if (valid) scale = std::pow(1024.0, static_cast<double>(at + 1));
  }
  if (!valid || value * scale > 1e18) {
    throw UsageError("'" + text + "' is not a number of bytes", option, "write it like 64G or 512MiB");
  }
  return static_cast<std::uint64_t>(value * scale);
}

double parse_duration(const std::string& text, const std::string& option) {
  std::int64_t fields[4] = {0, 0, 0, 0};  // the last ones read
  std::size_t count = 0;
  bool digit = false, sound = !text.empty() && text.size() < 20;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      if (!digit) {
        if (count == 4) sound = false;
        std::rotate(fields, fields + 1, fields + 4);
        fields[3] = 0;
        ++count;
      }
      fields[3] = std::min<std::int64_t>(fields[3] * 10 + (c - '0'), 1'000'000'000);
      digit = true;
    } else {
      sound = sound && digit && (c == ':' || (c == '-' && count == 1));
      digit = false;
    }
  }
  if (!sound || !digit || (text.find('-') != std::string::npos) != (count == 4)) {
    throw UsageError("'" + printable(text) + "' is no duration", option,
                     "write it as 90, 1:30, 01:30:00 or 2-01:30:00");
  }
  return static_cast<double>(((fields[0] * 24 + fields[1]) * 60 + fields[2]) * 60 + fields[3]);
}

}  // namespace galapagos
