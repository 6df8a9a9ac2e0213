#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/model/pipeline.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos {

/// A module's H = (2/N) sum x x^T over the calibration tokens, N sequences: [n, n] fp32,
/// lower triangle.
using Hessians = std::map<ModuleId, OwnedTensor>;

/// What all ranks know of a collection.
struct Collection {
  const PipelineGrid& grid;
  const HfConfig& config;
  std::span<const Batch> batches;    ///< of the whole calibration set; batch b belongs to lane b mod lanes
  std::int64_t sequences = 0;        ///< N
  std::function<void()> check = {};  ///< called before each batch; what it throws goes to the board
  bool uses = true;                  ///< what use experts are is measured, too
};

/// What a rank has of a collection: Hessians, and where asked for of all experts of its stage's layers what
/// use they are.
struct Collected {
  Hessians hessians;
  ExpertUses uses;
};

/// Streams the calibration batches through the dense model and sums, on each member of the grid, the Hessians
/// of those of `modules` that its stage owns, over its own lane's batches. Errors go to the board; all ranks
/// of `comm` take part. `times` may be null.
Collected collect_hessians(const ops::Context& context, const Communicator& comm,
                           const Collection& collection, const StageWeights& stage,
                           std::span<const ModuleId> modules, FailureBoard& board,
                           PhaseTimes* times = nullptr);

/// How Hessians go from a device to another.
struct DeviceSums {
  const ops::Context& context;
  Collectives& collectives;  ///< of all ranks
  /// Bytes of Hessians that this rank may hold there: while some are its own lane's alone, and of those that
  /// it owns in the end. What it owns and has no part of goes to host memory where it has no room.
  std::uint64_t reducing = 0, owned = 0;
};

/// Collective. Brings each module's Hessian, summed over the lanes in their order, to the rank owners[i] of
/// modules[i]: through host memory, or with `device` from device to device. A rank that throws in the middle
/// leaves the others waiting.
Hessians reduce_to_owners(const Communicator& comm, const PipelineGrid& grid, const HfConfig& config,
                          std::span<const ModuleId> modules, std::span<const int> owners, Hessians partial,
                          const std::optional<DeviceSums>& device = {});

/// Which rank prunes which module: the costliest first, each to the rank with the least to do so far.
std::vector<int> assign_owners(std::span<const ModuleId> modules, const HfConfig& config,
                               const PipelineGrid& grid, int ranks);

}  // namespace galapagos
