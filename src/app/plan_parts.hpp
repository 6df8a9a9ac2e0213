#pragma once

#include "plan.hpp"

#include <string>
#include <utility>
#include <vector>

// What the plans of the commands share.
namespace galapagos::app {

std::string count_text(std::int64_t number);
std::string bytes_text(double number);

/// The times of a command's steps from the machine's rates; what has no rate takes none.
class Clock {
 public:
  explicit Clock(const Machine& machine) : machine_(machine) {}

  double compute(double operations, double streamed = 0) const;
  double network(double moved) const { return at(moved, machine_.network); }
  double disk(double moved) const { return at(moved, machine_.disk); }

  void add(const std::string& step, double seconds);
  void write_to(PlannedPhase& phase) const;

 private:
  double at(double amount, double rate) const { return rate > 0 ? amount / (rate * machine_.efficiency) : 0; }

  const Machine& machine_;
  std::vector<std::pair<std::string, double>> steps_;
};

/// Notes the limit of a rank's memory, and a warning where the need is above it.
void check_rank(PlannedPhase& phase, std::uint64_t need, std::uint64_t limit, const std::string& remedy);

}  // namespace galapagos::app
