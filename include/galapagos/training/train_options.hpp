#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/model/computing_options.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/training/loss_options.hpp>
#include <galapagos/training/optimiser.hpp>
#include <galapagos/training/schedule.hpp>

namespace galapagos {

/// What `galapagos train` is asked for.
struct TrainOptions : RunOptions {
  bool random_weights = false;  ///< only its config.json is used, and its tokenizer
  std::vector<std::filesystem::path> data, eval_data;
  std::optional<std::filesystem::path> reference;  ///< learn from this model, not the text
  LossOptions loss;
  bool responses_only = false;       ///< no loss counts but tokens of responses
  std::int64_t tokens = 0;           ///< to train on
  std::int64_t step_tokens = 65536;  ///< of one update, over all ranks
  bool recompute = false;            ///< activation checkpointing
  Decay decay = Decay::cosine;
  double learning_rate = 1e-4, least_rate_share = 0.1, warmup_share = 0.02, clip = 1;
  AdamWOptions adamw;
  std::int64_t eval_every = 0;          ///< updates; 0: only at the end
  std::int64_t checkpoint_every = 500;  ///< updates; 0: only where the run is stopped
  std::uint64_t seed = 0;
  int shards = 1;  ///< ranks that hold one replica of the model
  MakeCollectives make_collectives = make_mpi_collectives;
  std::uint64_t shard_bytes = 5ull << 30;  ///< of a file of the model that comes out
  std::string config_ini;
};

void bind(Options& list, TrainOptions& options);

/// UsageError where a number is out of its range.
void check_options(const TrainOptions& options);

}  // namespace galapagos
