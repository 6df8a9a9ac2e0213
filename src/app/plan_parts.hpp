#pragma once

#include "plan_machine.hpp"

#include <string>
#include <utility>
#include <vector>

#include <galapagos/comm/bill.hpp>
#include <galapagos/model/pipeline.hpp>
#include <galapagos/model/shard_traffic.hpp>

// What the plans of the commands share.
namespace galapagos::app {

std::string count_text(std::int64_t number);
std::string bytes_text(double number);

/// The type of what lies between a model's operations on that machine.
inline DType activations_of(const Machine& machine, const ModelSizes& model) {
  return ops::activation_type(machine.device(), model.precision);
}

/// What the shards' collectives move on a rank, in a row and in JSON; nothing where there is one shard.
std::string traffic_text(const ShardTraffic& moved);
Json traffic_json(const ShardTraffic& moved);

/// Stages and lanes of a pipeline on so many ranks.
std::string grid_text(const PipelineGrid& grid, int ranks);
Json spans_of(const PipelineGrid& grid);
/// "2 replicas of 4 shards".
std::string replicas_text(const Machine& machine, int shards);

/// The times of a command's steps from the machine's rates; what has no rate takes none.
class Clock {
 public:
  explicit Clock(const Machine& machine) : machine_(machine) {}

  double compute(double operations, double streamed = 0) const;
  /// A GPU, whose peak is that of 16 bits, multiplies fp32 matrices at about a sixteenth of it (H100: 67 of
  /// 989 TFLOP/s).
  double compute_in_fp32(double operations, double streamed = 0) const {
    return compute(machine_.device() == Device::cuda ? 16 * operations : operations, streamed);
  }
  double network(double moved) const { return at(moved, machine_.network); }
  double disk(double moved) const { return at(moved, machine_.disk); }

  void add(const std::string& step, double seconds);
  void write_to(PlannedPhase& phase) const;

 private:
  double at(double amount, double rate) const { return rate > 0 ? amount / (rate * machine_.efficiency) : 0; }

  const Machine& machine_;
  std::vector<std::pair<std::string, double>> steps_;
};

/// What so long a run takes of the machine, with a GPU for each rank where there are some.
Bill planned_bill(const Machine& machine, double seconds);
/// "12.3 node-hours, 49.2 GPU-hours"
std::string hours_text(const Bill& bill);
Json hours_json(const Bill& bill);

/// Notes the limit of a rank's memory, and a warning where the need is above it.
void check_rank(PlannedPhase& phase, std::uint64_t need, std::uint64_t limit, const std::string& remedy);

}  // namespace galapagos::app
