#pragma once

#include <optional>
#include <string>

namespace galapagos {

/// How weights are fitted to the unpruned model's residual stream: what `--compensate` and `--refit` are
/// given.
struct Compensation {
  std::optional<double> ridge;  ///< nothing: chosen for each module on held-out sequences
};

/// A ridge, or "auto".
std::string name_of(const Compensation& compensation);
/// UsageError naming `option` for anything else.
Compensation compensation_of(const std::string& text, const std::string& option);

}  // namespace galapagos
