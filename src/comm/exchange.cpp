#include "mpi_check.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>

#include <galapagos/comm/exchange.hpp>

namespace galapagos {

Exchange::Exchange(const Communicator& comm, std::size_t bytes)
    : comm_(comm.duplicate()),
      control_(comm.duplicate()),
      bytes_(std::max<std::size_t>(bytes, 1)),
      mine_(bytes_),
      all_(bytes_ * static_cast<std::size_t>(comm.size())) {}

Exchange::~Exchange() {
  if (request_ != MPI_REQUEST_NULL && std::uncaught_exceptions() == 0) MPI_Wait(&request_, MPI_STATUS_IGNORE);
}

void Exchange::start(std::span<const std::byte> mine) {
  std::fill(std::copy(mine.begin(), mine.end(), mine_.begin()), mine_.end(), std::byte{0});
  begin(all_);
}

void Exchange::begin(std::span<std::byte> all) {
  const auto count = static_cast<int>(bytes_);
  GALAPAGOS_MPI(
      MPI_Iallgather(mine_.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, comm_.handle(), &request_));
  ++rounds_;
}

bool Exchange::done() {
  int done = 1;
  if (request_ != MPI_REQUEST_NULL) GALAPAGOS_MPI(MPI_Test(&request_, &done, MPI_STATUS_IGNORE));
  return done != 0;
}

bool Exchange::wait(FailureBoard& board) {
  std::chrono::microseconds pause(20);
  while (!done()) {
    if (board.failed()) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(2000));
  }
  return true;
}

std::span<const std::byte> Exchange::from(int rank) const {
  return std::span(all_).subspan(bytes_ * static_cast<std::size_t>(rank), bytes_);
}

bool Exchange::abandon() {
  const auto finish = [&] {
    if (request_ != MPI_REQUEST_NULL) GALAPAGOS_MPI(MPI_Wait(&request_, MPI_STATUS_IGNORE));
  };
  const std::int64_t own = rounds_, most = control_.max(own), least = control_.min(own);
  finish();
  // Rounds of nothing, into a place of their own: all_ keeps this rank's last one.
  std::fill(mine_.begin(), mine_.end(), std::byte{0});
  std::vector<std::byte> filler(own < most ? all_.size() : 0);
  while (rounds_ < most) {
    begin(filler);
    finish();
  }
  return own == least;
}

}  // namespace galapagos
