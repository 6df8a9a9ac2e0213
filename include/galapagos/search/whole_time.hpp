#pragma once

#include <cstdint>
#include <functional>

#include <galapagos/search/module_times.hpp>

namespace galapagos {

/// Seconds of one pass of a whole model on this rank: all layers as `model` says, with weights of its shapes
/// and no meaning, one after the other as it runs, embedding and head included.
///
/// Prefill and decode are what ModuleTimer takes for them, but for layers with a window, which are timed as
/// they are. The least of `repeats`, or of up to 4 times as many until the two least lie within half a
/// percent. ResourceError where the model does not fit.
double whole_seconds(const ops::Context& context, const HfConfig& model, const Timing& timing,
                     LatencyPhase phase);

/// That, or what stands for it.
using TimeWhole = std::function<double(const ops::Context& context, const HfConfig& model,
                                       const Timing& timing, LatencyPhase phase)>;

/// Bytes that it holds for a model of so many parameters whose layers are no larger than those of `model`;
/// `activations` as of ops::Context.
std::uint64_t whole_time_bytes(const HfConfig& model, std::int64_t parameters, const Timing& timing,
                               LatencyPhase phase, DType activations);

}  // namespace galapagos
