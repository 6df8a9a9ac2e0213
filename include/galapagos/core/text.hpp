#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace galapagos {

/// "1.50 GiB" and the like.
std::string human_bytes(std::uint64_t bytes);

/// "1,234,567".
std::string human_count(std::uint64_t count);

/// "01:02:03" or "2d 03:04:05".
std::string human_duration(double seconds);

/// Bytes from "512", "64K", "1.5G", "2GiB" (powers of 1024). Throws UsageError naming `option`.
std::uint64_t parse_bytes(const std::string& text, const std::string& option);

/// Seconds from "90", "1:30" (minutes), "01:30:00" or "2-01:30:00" (days). Throws UsageError naming `option`.
double parse_duration(const std::string& text, const std::string& option);

}  // namespace galapagos
