#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// Of several ranks that take a pass together, the seconds that one of them measured.
using CommonSeconds = std::function<double(double seconds)>;

/// Seconds of a pass on a device: the least of `repeats` measurements, or of up to 4 times as many until the
/// two least lie within half a percent, each so long that the clock does not count; a warning, naming `what`,
/// where they lie 2 % apart. Ranks that take it together give `common`, so that they take as many passes.
double least_seconds(Device device, std::int64_t repeats, const std::string& what,
                     const std::function<void()>& pass, const CommonSeconds& common = {});

}  // namespace galapagos
