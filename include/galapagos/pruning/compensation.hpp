#pragma once

#include <optional>
#include <string>

namespace galapagos {

class Options;

/// How weights are fitted to the unpruned model's residual stream: what `--compensate` and `--refit` are
/// given.
struct Compensation {
  std::optional<double> ridge;  ///< nothing: chosen for each module on held-out sequences
};

/// A ridge, or "auto".
std::string name_of(const Compensation& compensation);
/// UsageError naming `option` for anything else.
Compensation compensation_of(const std::string& text, const std::string& option);
/// Binds an option that takes either.
void bind_compensation(Options& list, const std::string& name, std::optional<Compensation>& member,
                       const std::string& help);

}  // namespace galapagos
