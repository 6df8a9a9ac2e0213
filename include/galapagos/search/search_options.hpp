#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/assignment/level_store.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/search/budget.hpp>
#include <galapagos/search/evolution_options.hpp>
#include <galapagos/search/replica.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

/// What `galapagos search` is asked for.
struct SearchOptions {
  std::filesystem::path model, database, output;
  std::vector<std::filesystem::path> calibration, eval_data;
  std::vector<std::filesystem::path>
      training_data;                    ///< to fine-tune candidates on; none: the calibration data
  std::int64_t calibration_tokens = 0;  ///< of the pool that stages draw from; 0: all there are
  std::int64_t sequence_length = 0;
  bool add_bos = false;
  SizeTarget target;
  std::string start = "auto";  ///< see make_start()
  Fitness fitness;
  FineTuning tuning;
  EvolutionOptions evolution;
  int shards = 1;  ///< ranks of a replica
  MakeCollectives make_collectives = make_mpi_collectives;
  std::optional<LevelHome> level_cache;  ///< nothing: what fits
  std::optional<DType> precision;        ///< of the working weights; the checkpoint's where not given
  std::int64_t batch_tokens = 4096;
  std::uint64_t memory_limit = 0;
  double max_seconds = 0;  ///< 0: no limit
  bool resume = false;
  bool dry_run = false;
  std::string config_ini;  ///< the options as resolved, for the run's folder
};

}  // namespace galapagos
