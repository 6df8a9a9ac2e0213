#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/hessian.hpp>
#include <galapagos/pruning/refit.hpp>

namespace galapagos {

/// Bytes of a rank: the most of each purpose, and the most at a time.
struct DatabaseMemory {
  std::uint64_t weights = 0;
  std::uint64_t activations = 0;
  std::uint64_t hessians = 0;
  std::uint64_t pruning = 0;
  std::uint64_t peak = 0;    ///< with the states where tensors lie in host memory, too
  std::uint64_t states = 0;  ///< on a path, hidden states of a rank's tokens, in host memory
};

/// What `galapagos database`, or a refit, is going to need, from sizes alone.
struct DatabaseForecast {
  PipelineGrid grid;
  std::vector<std::vector<ModuleId>> passes;
  std::string too_small;       ///< why the memory limit cannot be kept; empty where it can
  DatabaseMemory memory;       ///< over all ranks
  std::uint64_t file = 0;      ///< bytes of the database
  double collecting = 0;       ///< operations
  double collecting_rank = 0;  ///< of the rank that has most of them
  double waiting = 0;          ///< share of the collection's time in which the pipeline fills and drains
  double pruning = 0;
  double pruning_rank = 0;
  double pruning_streamed = 0;     ///< bytes between memory and processor, of the rank that has most of them
  std::uint64_t hidden_moved = 0;  ///< bytes of hidden states between stages
  std::uint64_t hessians_moved = 0;
  std::uint64_t busiest_node = 0;  ///< bytes that one node sends or receives, of both
  std::uint64_t read = 0;          ///< bytes of the checkpoint, by all ranks
};

/// Operations of structured_obs() on a weight of `rows` rows, from `columns` columns down to `kept`;
/// `weighed`: with a sensitivity.
double obs_operations(std::int64_t rows, std::int64_t columns, std::int64_t kept, std::int64_t unit,
                      bool weighed);

/// Bytes that it reads and writes in memory.
double obs_traffic(std::int64_t rows, std::int64_t columns, std::int64_t kept, std::int64_t unit,
                   bool weighed);

/// `limit`: bytes a rank may use on `device`, 0 for any number; `options.calibration_tokens` has to be known.
/// `ranks_per_node` neighbours share a node.
DatabaseForecast forecast_database(const DatabaseHeader& header, const DatabaseOptions& options, int ranks,
                                   int ranks_per_node, std::uint64_t limit, Device device);

/// The same on a path, whose modules follow each other; `host_limit`: bytes of host memory that a rank may
/// use beside a GPU's.
DatabaseForecast forecast_path(const DatabaseHeader& header, const DatabaseOptions& options, int ranks,
                               int ranks_per_node, std::uint64_t limit, std::uint64_t host_limit,
                               Device device);

/// Of a refit of an assignment, whose `levels` are in the order of the header; "pruning" are its fits. The
/// first `writers` ranks hold what it finds. Tokens and sequence length of the options have to be known.
DatabaseForecast forecast_refit(const DatabaseHeader& header, std::span<const std::int16_t> levels,
                                const RefitOptions& options, DType precision, int ranks, int ranks_per_node,
                                int writers, std::uint64_t limit, std::uint64_t host_limit, Device device);

}  // namespace galapagos
