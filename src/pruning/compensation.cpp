#include <charconv>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
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

}  // namespace galapagos
