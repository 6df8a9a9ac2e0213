#pragma once

#include <optional>
#include <string>

#include <galapagos/search/search_options.hpp>

namespace galapagos {

/// How whole models are timed for a target of latency; nothing where they are not, for the reason given.
struct TimingChoice {
  std::optional<Timing> timing;
  std::string untimed;
};
/// `precision` of the weights; `device`: device_text() of the rank that would time them. Nothing without such
/// a target. InputError as read_latency_table().
TimingChoice choose_timing(const SearchOptions& options, const HfConfig& config, DType precision,
                           const std::string& device);

}  // namespace galapagos
