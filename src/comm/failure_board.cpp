#include "mpi_check.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/failure_board.hpp>

namespace galapagos {
namespace {

constexpr int notice_tag = 1;

}  // namespace

FailureBoard::FailureBoard(const Communicator& comm) : comm_(comm.duplicate()) {}

void FailureBoard::post(std::exception_ptr failure) {
  failure_ = std::move(failure);
  for (int rank = 0; rank < comm_.size(); ++rank) {
    if (rank == comm_.rank()) continue;
    notices_.push_back(comm_.send_async(std::as_bytes(std::span(&notice_, 1)), rank, notice_tag));
  }
}

bool FailureBoard::failed() {
  if (failure_ || failed_elsewhere_) return true;
  int flag = 0;
  GALAPAGOS_MPI(MPI_Iprobe(MPI_ANY_SOURCE, notice_tag, comm_.handle(), &flag, MPI_STATUS_IGNORE));
  failed_elsewhere_ = flag != 0;
  return failed_elsewhere_;
}

void FailureBoard::settle() {
  // Notices are one byte each, so they are on their way (eager) before their sender comes here; take them
  // all.
  const std::vector<char> posted = comm_.all_gather<char>(failure_ ? 1 : 0);
  for (int rank = 0; rank < comm_.size(); ++rank) {
    if (rank == comm_.rank() || posted[static_cast<std::size_t>(rank)] == 0) continue;
    char notice = 0;
    comm_.receive(std::span(&notice, 1), rank, notice_tag);
  }
  notices_.clear();
  agree(comm_, [&] {
    if (failure_) std::rethrow_exception(failure_);
  });
}

}  // namespace galapagos
