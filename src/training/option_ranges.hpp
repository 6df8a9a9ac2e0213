#pragma once

#include <cstdint>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {

/// UsageError, naming the option, where its value is out of its range.
inline void at_least(std::int64_t value, std::int64_t least, const char* option) {
  if (value < least)
    throw UsageError(fmt::format("{}", value), option, fmt::format("give {} or more", least));
}
inline void between(double value, double least, double most, const char* option) {
  if (!(value >= least && value <= most)) {
    throw UsageError(fmt::format("{:g}", value), option,
                     fmt::format("give a number from {:g} to {:g}", least, most));
  }
}

}  // namespace galapagos
