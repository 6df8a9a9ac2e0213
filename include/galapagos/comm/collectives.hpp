#pragma once

#include <cstddef>
#include <memory>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// Sums of fp32 values over the ranks of a group, in the memory where tensors lie: one interface over MPI and
/// over NCCL. All ranks make the same calls in the same order. What is small and lies in host memory goes
/// over ranks() instead.
class Collectives {
 public:
  explicit Collectives(const Communicator& ranks) : ranks_(ranks.duplicate()) {}
  virtual ~Collectives() = default;
  Collectives(const Collectives&) = delete;
  Collectives& operator=(const Collectives&) = delete;

  const Communicator& ranks() const { return ranks_; }

  /// Begins to replace `count` values by their sums over all ranks, the same bits on each of them. The values
  /// are not to be touched before finish_sum(); one sum at a time.
  virtual void start_sum(float* values, std::size_t count) = 0;
  /// What is computed after this sees the sums.
  virtual void finish_sum() = 0;

 private:
  Communicator ranks_;
};

/// Over MPI, for values in host memory.
std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& ranks);

}  // namespace galapagos
