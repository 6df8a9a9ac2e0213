#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>

namespace galapagos {

/// How a candidate came into a generation.
enum class Origin : std::uint8_t {
  mutation,  ///< of the island's parent
  random,    ///< drawn by the random strategy
  proposal,  ///< of the surrogate
  parent,
  immigrant,
  stride,     ///< an exchange in which the larger module grows by several levels
  layer,      ///< between the attention and the feed-forward part of a layer
  removal,    ///< of a whole part of a layer, for which others grow
  crossover,  ///< of two candidates
  exchange    ///< of which the surrogate says that it gains
};

inline constexpr Origin last_origin = Origin::exchange;

/// Their names: "mutation", "random" and so on.
std::string name_of(Origin origin);
/// Nothing where no origin has that name.
std::optional<Origin> origin_named(const std::string& name);

/// A candidate as one stage of a selection measured it.
struct Measurement {
  Assignment assignment;
  double fitness = 0;
  double expected = 0;  ///< by the surrogate, before anything of this generation was measured
  Origin origin = Origin::mutation;

  bool operator==(const Measurement&) const = default;
};

/// All candidates of a stage, measured on the same tokens.
struct MeasuredStage {
  std::int64_t stage = 0;
  std::int64_t tokens = 0;  ///< compared on
  std::vector<Measurement> candidates;

  bool operator==(const MeasuredStage&) const = default;
};

}  // namespace galapagos
