#include <array>

#include <galapagos/search/measurements.hpp>

namespace galapagos {
namespace {

constexpr std::array names = {"mutation", "random", "proposal", "parent",    "immigrant",
                              "stride",   "layer",  "removal",  "crossover", "exchange"};
static_assert(names.size() == static_cast<std::size_t>(last_origin) + 1);

}  // namespace

std::string name_of(Origin origin) {
  return names.at(static_cast<std::size_t>(origin));
}

std::optional<Origin> origin_named(const std::string& name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<Origin>(i);
  }
  return std::nullopt;
}

}  // namespace galapagos
