#pragma once

#include "support/catch.hpp"

#include <initializer_list>

#include <galapagos/core/json.hpp>

namespace galapagos::test {

/// A manifest tells where a run's time went: in these phases and others, whose shares add up.
inline void check_phases(const Json& manifest, std::initializer_list<const char*> names) {
  const Json& phases = manifest.at("phases");
  double shares = 0;
  for (const auto& [name, phase] : phases.items()) {
    const auto seconds = [&](const char* which) { return phase.at(which).template get<double>(); };
    CHECK(seconds("min") <= seconds("mean") + 1e-9);
    CHECK(seconds("mean") <= seconds("max") + 1e-9);
    shares += phase.at("share").get<double>();
  }
  CHECK(shares == Approx(1));
  for (const char* name : names) {
    INFO(name);
    REQUIRE(phases.contains(name));
    CHECK(phases.at(name).at("max") > 0);
  }
}

}  // namespace galapagos::test
