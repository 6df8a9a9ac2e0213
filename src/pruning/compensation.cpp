#include <charconv>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/pruning/compensation.hpp>

namespace galapagos {

std::string name_of(const Compensation& compensation) {
  return compensation.ridge ? fmt::format("{:g}", *compensation.ridge) : "auto";
}

Compensation compensation_of(const std::string& text, const std::string& option) {
  if (text == "auto") return {};
  double ridge = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, ridge);
  if (error != std::errc() || stopped != end || !(ridge > 0 && ridge <= 1e6)) {
    throw UsageError("a ridge of '" + printable(text) + "'", option,
                     "give auto, or a number above 0 and up to 1e6, as 1");
  }
  return {ridge};
}

void check_reaches_stream(const HfConfig& config, const std::string& option, const std::string& remedy) {
  refuse_mixture(config, "least squares toward the residual stream", option, remedy);
  if (!config.features.post_norms) return;
  throw UsageError(
      fmt::format("layers of {} norm what their parts put out before they add it, so that no least "
                  "squares lead to the residual stream",
                  config.model_type),
      option, remedy);
}

void bind_compensation(Options& list, const std::string& name, std::optional<Compensation>& member,
                       const std::string& help) {
  const auto read = [&member, name](const std::string& text) { member = compensation_of(text, "--" + name); };
  list.add_text(name, [&member] { return member ? name_of(*member) : ""; }, read, help, {.decides = true});
}

}  // namespace galapagos
