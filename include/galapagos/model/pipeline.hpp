#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/comm/failure_board.hpp>
#include <galapagos/model/balanced_spans.hpp>
#include <galapagos/model/forward.hpp>

namespace galapagos {

/// A process grid of stages x lanes: a stage owns consecutive layers, a lane is a data-parallel copy of the
/// pipeline. Rank lane * stages + stage; ranks beyond stages * lanes stay idle here.
struct PipelineGrid {
  int lanes = 1;
  std::vector<LayerSpan> spans;  ///< of each stage

  int stages() const { return static_cast<int>(spans.size()); }
  bool member(int rank) const { return rank < stages() * lanes; }
  int stage_of(int rank) const { return rank % stages(); }
  int lane_of(int rank) const { return rank / stages(); }
  int rank_of(int lane, int stage) const { return lane * stages() + stage; }
  int stage_of_layer(std::int64_t layer) const;
};

/// UsageError where there are more lanes than ranks.
void check_lanes(int lanes, int ranks);

/// Deals layers of the given costs to `ranks` ranks. lanes = 0 takes as few lanes as keep every rank busy.
/// UsageError as check_lanes().
PipelineGrid make_pipeline_grid(std::span<const double> layer_costs, int ranks, int lanes);

/// UsageError where the hidden states of a batch, [tokens, columns] fp32, are too long for one message.
void check_message(std::int64_t tokens, std::int64_t columns);

/// How hidden states reach the next stage.
enum class HandOver : std::uint8_t {
  automatic,  ///< `direct` for tensors in host memory or where MPI reads GPU memory, else `staged`
  direct,     ///< MPI is handed the tensors, or memory beside them on their GPU
  staged,     ///< through page-locked host memory
};

/// From the first stage to the last, or as gradients go, from the last to the first.
enum class Direction : std::uint8_t { forward, backward };

/// Batches on their way through a stage: received, computed, sent.
constexpr std::size_t streamed_batches = 3;

/// Streams this lane's batches through its stages, on every member of the grid. `begin` fills hidden [t,
/// hidden_size] on the stage where the stream begins; `work` is a stage's part; receiving, computing and
/// sending overlap. An exception in either goes to the board and ends the stream on all ranks; it is raised
/// by the board's settle().
void stream_batches(const Communicator& comm, const PipelineGrid& grid, std::span<const Batch> batches,
                    const Tensor (&buffers)[streamed_batches], FailureBoard& board,
                    const std::function<void(const Batch&, const Tensor& hidden)>& begin,
                    const std::function<void(const Batch&, const Tensor& hidden)>& work,
                    HandOver hand_over = HandOver::automatic, Direction direction = Direction::forward);

}  // namespace galapagos
