#pragma once

#include <optional>
#include <string>

namespace galapagos {

class Options;
struct HfConfig;

/// How weights are fitted to the unpruned model's residual stream: what `--compensate` and `--refit` are
/// given.
struct Compensation {
  std::optional<double> ridge;  ///< nothing: chosen for each module on held-out sequences
};

/// A ridge, or "auto".
std::string name_of(const Compensation& compensation);
/// UsageError naming `option` for anything else.
Compensation compensation_of(const std::string& text, const std::string& option);
/// UsageError naming `option` where what o_proj and down_proj put out is normed before it reaches the
/// residual stream, to which it is then no linear way.
void check_reaches_stream(const HfConfig& config, const std::string& option, const std::string& remedy);
/// Binds an option that takes either.
void bind_compensation(Options& list, const std::string& name, std::optional<Compensation>& member,
                       const std::string& help);

}  // namespace galapagos
