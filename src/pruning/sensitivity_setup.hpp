#pragma once

#include "gradient_collector.hpp"
#include "gradient_dealing.hpp"

#include <cstddef>
#include <vector>

#include <galapagos/io/token_source.hpp>
#include <galapagos/pruning/sensitivity_forecast.hpp>
#include <galapagos/pruning/sensitivity_model.hpp>
#include <galapagos/pruning/sensitivity_options.hpp>

namespace galapagos {

/// What all ranks of a measurement agree on before the work begins.
struct SensitivitySetup {
  SensitivityOptions options;  ///< as they were asked for
  SensitivityHeader header;
  TokenSet calibration;
  std::vector<NumberedBatch> batches;
  std::vector<ModuleId> modules;
  GradientGathering how;
  SensitivityForecast forecast;
  GradientDealing dealing;
  Found found = Found::nothing;
  std::size_t batches_done = 0;  // in earlier runs
};

/// Collective. Checks the options, reads the text and deals the ranks.
SensitivitySetup make_sensitivity_setup(const Communicator& comm, const ops::Context& context,
                                        const SensitivityOptions& options, const SensitivityModel& model);

}  // namespace galapagos
