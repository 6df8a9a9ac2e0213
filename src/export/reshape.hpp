#pragma once

#include "fit.hpp"

#include <map>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// How a pruned model is made one whose layers have shapes that other code than ours can hold, in Hugging
/// Face's files.
struct Reshape {
  std::vector<LayerFit> (*fits)(const HfConfig& pruned);
  Json (*config)(const HfConfig& pruned, std::span<const LayerFit> fits);  ///< config.json
  bool family;                              ///< tensors that the family stores as one are one again
  std::map<std::string, std::string> code;  ///< files of Python that go along, by their names
};

/// The shapes of the unpruned model, with its class: every engine loads it.
Reshape unpruned();

/// DeciLM's (Nemotron-NAS): layers differ in KV heads and columns, and may lack either part; query heads are
/// as many in all. Columns come in multiples of 256, as engines count them from ffn_mult. InputError for
/// families that it cannot be.
Reshape decilm();

}  // namespace galapagos
