#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/computing_options.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/training/optimiser.hpp>

namespace galapagos {

/// What `galapagos distil` is asked for.
struct DistilOptions : RunOptions {
  std::filesystem::path reference;  ///< the unpruned model
  std::vector<std::filesystem::path> data;
  std::optional<std::filesystem::path> sensitivity;  ///< of the unpruned model; weighs the error
  std::int64_t tokens = 0;                           ///< of the text; 0: all there are
  bool refit = true;        ///< first fit what a layer's two parts put out, by least squares
  std::int64_t epochs = 2;  ///< times that every layer sees the text; 0: only fit
  std::int64_t step_tokens = 512;
  double learning_rate = 5e-4, least_rate_share = 0.05, warmup_share = 0.03;
  AdamWOptions adamw = {0.9, 0.95, 1e-8, 0};
  std::uint64_t seed = 0;
  std::uint64_t shard_bytes = 5ull << 30;
  MakeCollectives make_collectives = make_mpi_collectives;
  std::string config_ini;
};

void bind(Options& list, DistilOptions& options);

/// What a distillation takes on a rank, in bytes.
struct DistilFootprint {
  std::uint64_t weights = 0;   ///< a layer of each model, or the embedding
  std::uint64_t training = 0;  ///< of a layer: gradients, the rank's part of AdamW's state, activations
  std::uint64_t states = 0;    ///< hidden states of both models for the rank's text, in the host's memory

  /// Of what lies on that device.
  std::uint64_t on(Device device) const { return weights + training + (device == Device::cpu ? states : 0); }
};

/// `value_bytes` of a working weight of either model; `most_tokens` of a batch, `tokens` of a rank's text.
DistilFootprint distil_footprint(const HfConfig& model, const HfConfig& reference, std::size_t value_bytes,
                                 Device device, DType activations, std::int64_t most_tokens,
                                 std::int64_t tokens, int ranks);

}  // namespace galapagos
