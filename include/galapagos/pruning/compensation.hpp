#pragma once

#include <optional>
#include <string>

namespace galapagos {

/// What `--compensate` is given.
struct Compensation {
  std::optional<double> ridge;  ///< nothing: chosen for each module on held-out sequences
};

/// A ridge, or "auto".
std::string name_of(const Compensation& compensation);
/// UsageError for anything else.
Compensation compensation_of(const std::string& text);

}  // namespace galapagos
