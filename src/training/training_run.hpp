#pragma once

#include "setup.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/model_writer.hpp>
#include <galapagos/training/optimiser.hpp>

namespace galapagos {

/// A training from its first update, or its last checkpoint, to the trained model. Calls are collective; the
/// references must outlive this.
class Training {
 public:
  /// `begun`: since the command was started.
  Training(const Communicator& comm, const ReplicaGrid& grid, const Shards& shards, Collectives& replicas,
           const ops::Context& context, TrainSetup& setup, const Stopwatch& begun, PhaseTimes& times)
      : comm_(comm),
        grid_(grid),
        shards_(shards),
        replicas_(replicas),
        context_(context),
        options_(setup.options),
        setup_(setup),
        watch_(begun),
        times_(times),
        weights_(load_model_weights(setup.model.source)),
        gradients_(weights_, context.device()),
        pass_(context, setup.model.source.config, setup.longest, setup.options.recompute, shards,
              setup.loss) {
    if (setup.reference)
      teacher_.emplace(context, setup.reference->source, setup.longest, shards, setup.loss.layers);
  }

  /// At the beginning, or from the checkpoint.
  void begin(bool goes_on);
  /// All updates. NumericalError where one is not finite, StoppedEarly where it was told to stop.
  void run();
  /// Writes the model and the manifest.
  void finish(const ModelWriter& write_model);

 private:
  bool stop_due() const;
  bool interrupted() const { return comm_.any(stop_due()); }
  void compute(const char* phase, const std::function<void()>& work);
  bool step();
  void evaluate();
  void check_weights();
  void save();
  void write_result(const ModelWriter& write_model);
  [[noreturn]] void fail(const std::string& what);
  void record(const Json& line);
  void write_records();
  double elapsed() const { return state_before_ + watch_.seconds(); }

  const Communicator& comm_;
  const ReplicaGrid& grid_;
  const Shards& shards_;
  Collectives& replicas_;
  const ops::Context& context_;
  const TrainOptions& options_;
  TrainSetup& setup_;
  Stopwatch watch_;
  PhaseTimes& times_;
  ModelWeights weights_;
  Gradients gradients_;
  TrainingPass pass_;
  std::optional<Teacher> teacher_;
  std::optional<ShardedAdamW> optimiser_;
  DataPosition position_;
  std::int64_t evaluated_ = -1;  // after this many updates
  std::int64_t saved_ = -1;
  double state_before_ = 0;  // seconds of earlier runs
  std::vector<double> perplexities_;
  std::string records_;  // lines for metrics.jsonl, on the root
  Stopwatch since_records_;
};

}  // namespace galapagos
