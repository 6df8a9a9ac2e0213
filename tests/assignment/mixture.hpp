#pragma once

#include "support/files.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/pruning/build.hpp>

namespace galapagos::test {

/// A mixture with levels whose structures go in an order drawn at random.
struct Mixture {
  explicit Mixture(const std::string& model, std::int64_t levels = 4)
      : config(read_hf_config(data_file("models/" + model))) {
    DatabaseOptions options;
    options.sequence_length = 128;
    options.levels = levels;
    const DatabaseHeader header = make_header(options, config, DType::bf16);
    std::mt19937 random(17);
    std::vector<std::int32_t> orders;
    for (const ModuleId& module : header.modules()) {
      std::vector<std::int32_t> order(static_cast<std::size_t>(header.removed(module).back()));
      std::iota(order.begin(), order.end(), 0);
      std::ranges::shuffle(order, random);
      orders.insert(orders.end(), order.begin(), order.end());
    }
    space = make_space(header, orders);
  }

  Assignment drawn(std::mt19937& random) const {
    Assignment assignment;
    for (const ModuleChoices& module : space.modules)
      assignment.push_back(static_cast<std::int16_t>(random() % static_cast<unsigned>(module.last() + 1)));
    return assignment;
  }
  /// All experts of a layer, or of all layers, at their last level.
  Assignment without_experts(Assignment assignment, std::int64_t layer = -1) const {
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      const ModuleId& id = space.modules[i].id;
      if (id.expert != no_expert && (layer < 0 || id.layer == layer)) assignment[i] = space.modules[i].last();
    }
    return assignment;
  }
  /// The level of one module.
  std::int16_t& at(Assignment& assignment, const ModuleId& id) const {
    const auto found = std::ranges::find(space.modules, id, &ModuleChoices::id);
    return assignment[static_cast<std::size_t>(found - space.modules.begin())];
  }

  HfConfig config;
  SearchSpace space;
};

}  // namespace galapagos::test
