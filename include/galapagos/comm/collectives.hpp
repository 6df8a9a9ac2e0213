#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/comm/gathered_part.hpp>

namespace galapagos {

/// fp32 values that long messages between devices are cut into.
constexpr std::int64_t message_values = std::int64_t{1} << 23;

/// What ranks of a group exchange of tensors, in the memory where those lie: one interface over MPI and over
/// NCCL. All ranks make the same calls in the same order, but for send() and receive(). What is small and
/// lies in host memory goes over ranks() instead.
class Collectives {
 public:
  explicit Collectives(const Communicator& ranks) : ranks_(ranks.duplicate()) {}
  virtual ~Collectives() = default;
  Collectives(const Collectives&) = delete;
  Collectives& operator=(const Collectives&) = delete;

  const Communicator& ranks() const { return ranks_; }

  /// Begins to replace `count` fp32 values by their sums over all ranks, the same bits on each of them. The
  /// values are not to be touched before finish_sum(); one sum at a time.
  virtual void start_sum(float* values, std::size_t count) = 0;
  /// The same of bf16 values: whenever two are added, the sum is rounded to bf16.
  virtual void start_sum_bf16(std::uint16_t* values, std::size_t count) = 0;
  /// What is computed after this sees the sums.
  virtual void finish_sum() = 0;
  /// In place of finish_sum() on the way of an exception, without the other ranks: what the values' memory is
  /// used for next is safe from the sum. After it the ranks can only end.
  virtual void abandon_sum() noexcept {}

  /// Values of rank r, [bounds[r], bounds[r + 1]) of `values`, are replaced by their sums over all ranks;
  /// what the others' become is not said. bounds[0] = 0. What is computed after this sees the sums.
  virtual void sum_to_owners(float* values, std::span<const std::uint64_t> bounds) = 0;
  /// Every rank gets all parts from their owners. What is computed after this sees them.
  virtual void all_gather_parts(std::span<const GatheredPart> parts) = 0;

  /// One message from a rank to another: one calls send, the other receive with as many bytes. Either may
  /// wait for the other, so that all ranks take their messages from one list, in its order. What is computed
  /// after this sees what has come, and may overwrite what was sent.
  virtual void send(const std::byte* data, std::size_t bytes, int to) = 0;
  virtual void receive(std::byte* data, std::size_t bytes, int from) = 0;

 private:
  Communicator ranks_;
};

/// Over MPI, for values in host memory.
std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& ranks);

}  // namespace galapagos
