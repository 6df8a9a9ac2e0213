#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {

/// What `galapagos sensitivity` is asked for.
struct SensitivityOptions {
  std::filesystem::path model;  ///< for its tokenizer
  std::vector<std::filesystem::path> calibration;
  std::filesystem::path output;
  std::int64_t calibration_tokens = 16384;  ///< 0: all there are
  bool fewer_tokens = false;                ///< a text with fewer will do
  std::int64_t sequence_length = 0;
  bool add_bos = false;
  std::int64_t samples = 1;  ///< ids drawn per token, each with a way back of its own
  std::uint64_t seed = 0;
  SensitivityForm form = SensitivityForm::full;
  std::int64_t rank = 0;    ///< of the sketch, with form lowrank
  bool divergence = false;  ///< also the first order of the divergence from the unpruned model
  int lanes = 0;            ///< 0: as many as can hold the model
  int shards = 1;           ///< ranks that hold one copy of the model, each a part of every layer
  MakeCollectives make_collectives = make_mpi_collectives;
  std::int64_t batch_tokens = 4096;
  std::int64_t checkpoint_tokens = 1 << 18;  ///< between one saving and the next
  std::uint64_t memory_limit = 0;
  double max_seconds = 0;
  bool resume = false;
  bool dry_run = false;
};

/// UsageError where a number is out of its range.
void check_options(const SensitivityOptions& options);

/// The model whose gradients are taken: a checkpoint, or one with levels put in.
struct SensitivityModel {
  HfConfig config;  ///< of the checkpoint, whose modules are named
  std::string fingerprint;
  std::string assignment_fingerprint;  ///< empty for the checkpoint as it is
  DType precision = DType::f32;
  std::function<ModelSource(int shard, int shards)> source;
  // With options.divergence, of the checkpoint that levels were put into:
  std::vector<std::int64_t> kept;  ///< columns of its modules that are left
  std::function<ModelSource(int shard, int shards)> dense;
  std::function<std::vector<float>(const ModuleId&)> in_place;  ///< as ModuleSensitivity::in_place
};

/// Collective. Measures the sensitivities of all modules and writes their file; leaves `output`.part behind
/// where it is stopped after a saving, which `resume` takes up to the same bits on as many ranks.
/// StoppedEarly after a signal or at `max_seconds`; errors are of the same kind on all ranks.
void measure_sensitivities(const Communicator& comm, const ops::Context& context,
                           const SensitivityOptions& options, const SensitivityModel& model);

}  // namespace galapagos
