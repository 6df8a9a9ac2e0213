#pragma once

#include <galapagos/io/hf_config.hpp>
#include <galapagos/ops/routing.hpp>

namespace galapagos {

using Routing = ops::Routing;

inline ops::RoutingRule routing_rule(const MixtureSettings& settings) {
  return {settings.experts_per_token, settings.renormalised};
}

}  // namespace galapagos
