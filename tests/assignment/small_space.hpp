#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/core/error.hpp>

namespace galapagos::test {

/// Parameters of a module at its levels 0, 1, ...
using Sizes = std::vector<std::int64_t>;

/// A space without a model behind it: the attention modules of layers 0, 1, ... and their ffn modules.
inline SearchSpace make_space(const std::vector<Sizes>& attention, const std::vector<Sizes>& ffn,
                              std::int64_t fixed_parameters = 0) {
  SearchSpace space;
  space.fixed_parameters = fixed_parameters;
  const auto add = [&](std::size_t layer, ModuleKind kind, const std::vector<Sizes>& sizes) {
    if (layer >= sizes.size()) return;
    space.modules.push_back({{static_cast<std::int64_t>(layer), kind}, {}, sizes[layer]});
  };
  for (std::size_t layer = 0; layer < std::max(attention.size(), ffn.size()); ++layer) {
    add(layer, ModuleKind::attention, attention);
    add(layer, ModuleKind::ffn, ffn);
  }
  return space;
}

/// Levels 0 to `last` of equal size, the last removing everything.
inline Sizes equal_sizes(std::int64_t last, std::int64_t step) {
  Sizes sizes;
  for (std::int64_t level = last; level >= 0; --level) sizes.push_back(level * step);
  return sizes;
}

/// `layers` layers of attention and ffn, all with levels 0 to `last` of equal size.
inline SearchSpace even_space(std::size_t layers, std::int64_t last) {
  return make_space(std::vector<Sizes>(layers, equal_sizes(last, 10)),
                    std::vector<Sizes>(layers, equal_sizes(last, 30)), 100);
}

/// `layers` layers of attention and a mixture of so many experts, which are gone at the last level.
inline SearchSpace mixture_space(std::size_t layers, std::int64_t experts, std::int64_t last) {
  SearchSpace space;
  space.fixed_parameters = 100;
  const auto add = [&](ModuleId id, std::int64_t step) {
    ModuleChoices& module = space.modules.emplace_back(ModuleChoices{id, {}, equal_sizes(last, step)});
    module.gone.assign(module.parameters.size(), false);
    module.gone.back() = true;
  };
  for (std::int64_t layer = 0; layer < static_cast<std::int64_t>(layers); ++layer) {
    add({layer, ModuleKind::attention}, 10 * experts);
    for (std::int64_t expert = 0; expert < experts; ++expert) add({layer, ModuleKind::ffn, expert}, 30);
  }
  return space;
}

/// Modules of very different sizes and numbers of levels, some with one level only.
inline SearchSpace uneven_space(std::mt19937& random, std::size_t layers) {
  const auto sizes = [&] {
    Sizes found = {static_cast<std::int64_t>(random() % 50)};
    const std::size_t levels = random() % 7;
    const std::int64_t scale = random() % 3 == 0 ? 1000 : 10;
    for (std::size_t i = 0; i < levels; ++i) {
      found.push_back(found.back() + 1 + static_cast<std::int64_t>(random()) % scale);
    }
    return Sizes(found.rbegin(), found.rend());
  };
  std::vector<Sizes> attention(layers), ffn(layers);
  for (Sizes& some : attention) some = sizes();
  for (Sizes& some : ffn) some = sizes();
  return make_space(attention, ffn, 12345);
}

/// The same space with end losses: 0 where nothing is removed, growing by random steps of other sizes in
/// every module, in 1024ths, so that sums are exact and ties happen.
inline SearchSpace with_end_losses(SearchSpace space, std::mt19937& random) {
  for (ModuleChoices& module : space.modules) {
    const std::uint32_t scale = 1 + random() % 40;
    module.end_loss = {0.0};
    while (module.end_loss.size() < module.parameters.size()) {
      module.end_loss.push_back(module.end_loss.back() + static_cast<double>(random() % scale) / 1024);
    }
  }
  return space;
}

/// What an error of type E says that `action` throws; empty where it throws none.
template <typename E, typename Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace galapagos::test
