#pragma once

#include "layer_distiller.hpp"

#include <cstdint>
#include <optional>
#include <string>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>
#include <galapagos/training/distil_options.hpp>

namespace galapagos {

/// A model that layers are read from.
struct DistilSource {
  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  DType precision = DType::f32;
};

/// What all ranks agree on before the work begins.
struct DistilSetup {
  DistilOptions options;  ///< as they were asked for
  DistilSource model, reference;
  std::optional<SensitivityReader> sensitivities;
  TokenSet mine;  ///< this rank's part of the text, as `text` has it
  DistilText text;
  std::int64_t tokens = 0, longest = 1;
  std::size_t fitted_sequences = 0;  ///< of all ranks
  Schedule schedule;
  std::string identity;
};

/// Collective. Checks the options, opens the models, reads the text and deals it.
void prepare_distillation(const Communicator& comm, const ops::Context& context, const DistilOptions& asked,
                          DistilSetup& setup);

}  // namespace galapagos
