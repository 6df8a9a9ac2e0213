#pragma once

#include "command.hpp"

namespace galapagos::app {

/// Collective. `eval --time`: prints how many tokens a second the model reads and writes, and what memory it
/// takes, and the same of the reference where it is not null. Errors are those of reading the models,
/// UsageError for lengths that they do not take, ResourceError where a rank's memory does not do.
void eval_time(const Communicator& world, const ops::Context& context, const EvalRequest& request,
               const NamedModel& model, const NamedModel* reference);

}  // namespace galapagos::app
