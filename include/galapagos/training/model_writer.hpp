#pragma once

#include <filesystem>
#include <functional>
#include <span>

#include <galapagos/model/model_weights.hpp>
#include <galapagos/model/replicas.hpp>

namespace galapagos {

/// Collective. Writes a model's folder from its parameters' values, stored as `dtype`: fp32, all of them on
/// every rank, or of a replica on several shards each one's slices.
using ModelWriter =
    std::function<void(const HfConfig& config, std::span<const NamedTensor> values, const ReplicaGrid& grid,
                       DType dtype, const std::filesystem::path& folder)>;

}  // namespace galapagos
