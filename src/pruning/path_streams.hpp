#pragma once

#include "reduction.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/model/residual_stream.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/weight_fit.hpp>

namespace galapagos {

/// A level as it is stored.
struct StoredLevel {
  std::vector<std::int64_t> kept;
  std::vector<std::byte> words;  ///< [kept, hidden]
};

/// What goes along a path, the same on every rank. It must outlive the streams.
struct PathInput {
  const Checkpoint& checkpoint;
  const HfConfig& config;
  DType precision = DType::f32;  ///< of the working weights
  DType stored = DType::f32;     ///< of levels
  std::span<const Batch> batches;
  std::size_t fitted = 0;                           ///< the first batches; ridges are chosen on the others
  std::int64_t most_tokens = 1;                     ///< of a batch
  std::int64_t sequences = 1;                       ///< in all batches
  const std::optional<Compensation>& compensation;  ///< whether, and how, weights are fitted
  Collectives* collectives = nullptr;               ///< of all ranks, for sums on their devices; or null
  bool chooses() const { return compensation && !compensation->ridge; }
};

/// The residual stream of the pruned path, and where weights are fitted that of the unpruned model beside it,
/// moved on module by module. All ranks share the batches, and call the same functions for the same modules;
/// errors as agree() unless it says otherwise.
class PathStreams {
 public:
  /// Of ForwardBuffers: a batch's hidden states, and what they are to become.
  static constexpr std::size_t batches_at_once = 2;

  /// Collective. Both streams at the embedding.
  PathStreams(const Communicator& comm, const ops::Context& context, const PathInput& input,
              PhaseTimes& times);

  /// In agreed work, before anything else is done with a module: moves the unpruned stream through it.
  void enter(const ModuleId& module);
  /// In agreed work: moves the pruned stream through the module entered last, at a level or, with null, as it
  /// is.
  void leave(const ModuleId& module, const StoredLevel* level);
  /// In agreed work. The sums of the module entered last over this rank's tokens, times 2/sequences, at a
  /// level (over its kept columns) or, with null, as it is; in two parts where ridges are chosen: what to fit
  /// on and what is held out.
  std::vector<FitSums> collect(const ModuleId& module, const StoredLevel* level);
  /// Collective. Their sums over all ranks, on the owner; matrices of nothing elsewhere.
  std::vector<FitSums> reduce(const ModuleId& module, std::vector<FitSums> partial, int owner);
  /// Collective. The root's level becomes everybody's.
  void share(StoredLevel& level, int root);

 private:
  void begin();
  Tensor states_of(std::size_t batch) const { return rows_of(0, batch); }
  Tensor target_of(std::size_t batch) const { return rows_of(1, batch); }
  Tensor rows_of(std::size_t buffer, std::size_t batch) const;
  LayerWeights at_level(const ModuleId& module, const StoredLevel& level) const;
  Tensor run_module(const ModuleId& module, const LayerWeights& weights, std::size_t batch,
                    const Tensor& states);
  void advance(const ModuleId& module, const LayerWeights& weights, ResidualStream& stream);
  FitSums zero_sums(const ModuleId& module, std::int64_t columns) const;
  OwnedTensor at_owner(OwnedTensor partial, int owner, Triangle triangle, const std::string& purpose);

  const Communicator& comm_;
  const ops::Context& context_;
  ops::Context exact_;  // whose products keep fp32
  PathInput input_;
  PhaseTimes& times_;
  ModelSource source_;
  std::vector<Batch> batches_;  // of this rank
  std::vector<bool> held_out_;  // each of them
  std::vector<int> holders_;    // all ranks
  std::optional<ResidualStream> pruned_, dense_;
  std::optional<ForwardBuffers> buffers_;  // the hidden states of a batch, and what they are to become
  LayerWeights layer_;
  std::int64_t layer_number_ = -1;
};

}  // namespace galapagos
