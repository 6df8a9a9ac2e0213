#pragma once

#include "parent.hpp"
#include "support/catch.hpp"
#include "support/tokens.hpp"

#include <filesystem>
#include <random>
#include <string>

namespace galapagos::test {

/// Collective. A small mixture with its database of levels of random tokens: Mixtral's has no tokenizer.
inline Parent mixture_parent(const Communicator& world, const std::filesystem::path& model,
                             const SharedFolder& folder, const std::string& name = "a") {
  DatabaseOptions options = small_database("qwen3_moe_tiny", folder / (name + ".h5"));
  options.model = model;
  const TokenSet tokens = random_tokens(read_hf_config(model).vocab_size);
  if (world.is_root()) write_token_pair(folder / (name + "_tokens"), tokens.tokens, tokens.offsets);
  world.barrier();
  options.calibration = {folder / (name + "_tokens.bin")};
  options.calibration_tokens = 400;
  CHECK(code_of_build(world, options) == 0);
  return Parent(world, model, options.output);
}

/// Levels drawn at random; of layer 1 the experts 0 and 3 are gone, of layer 2 all of them, and in layer 0
/// what there is stays. `whole`: experts keep a column or more.
inline Assignment some_levels(const SearchSpace& space, bool whole = false) {
  std::mt19937 random(3);
  Assignment assignment;
  for (const ModuleChoices& module : space.modules) {
    const ModuleId& id = module.id;
    const auto drawn = static_cast<std::int16_t>(random() % static_cast<unsigned>(module.last()));
    const bool gone = !whole && id.expert != no_expert &&
                      (id.layer == 2 || (id.layer == 1 && (id.expert == 0 || id.expert == 3)));
    assignment.push_back(gone ? module.last() : id.layer == 0 ? std::int16_t{0} : drawn);
  }
  return assignment;
}

}  // namespace galapagos::test
