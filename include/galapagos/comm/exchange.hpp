#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/comm/failure_board.hpp>

namespace galapagos {

/// All-gathers of equal size, one after the other, that run while the ranks go on with their work.
class Exchange {
 public:
  /// Collective. Every rank gives up to `bytes` bytes in each round.
  Exchange(const Communicator& comm, std::size_t bytes);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Begins a round with this rank's bytes, padded with zeros. The round before must be complete.
  void start(std::span<const std::byte> mine);

  /// Whether a round has begun and was not waited for to its end.
  bool pending() const { return request_ != MPI_REQUEST_NULL; }

  /// Whether no round is pending; does not block.
  bool done();

  /// Waits for the end of the round; false where a rank has failed meanwhile.
  bool wait(FailureBoard& board);

  /// What a rank gave in the round of this rank that was completed last.
  std::span<const std::byte> from(int rank) const;

  /// Collective. Brings all ranks, of which some may have begun more rounds than others, to the same end, so
  /// that nothing is left pending. To be called before the board settles a failure. Whether all had begun
  /// this rank's last round, so that from() tells of it.
  bool abandon();

 private:
  Communicator comm_;
  Communicator control_;  // collectives on one communicator have to come in the same order everywhere
  std::size_t bytes_;
  std::vector<std::byte> mine_, all_;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::int64_t rounds_ = 0;

  void begin(std::span<std::byte> all);
};

}  // namespace galapagos
