#include "mpi_check.hpp"

#include <vector>

#include <galapagos/comm/notice.hpp>

namespace galapagos {
namespace {

constexpr int notice_tag = 1;

}  // namespace

void Notice::give() {
  if (given_) return;
  given_ = true;
  if (!comm_.is_root()) sent_ = comm_.send_async(std::as_bytes(std::span(&word_, 1)), 0, notice_tag);
}

bool Notice::given() {
  if (given_) return true;
  int flag = 0;
  GALAPAGOS_MPI(MPI_Iprobe(MPI_ANY_SOURCE, notice_tag, comm_.handle(), &flag, MPI_STATUS_IGNORE));
  given_ = flag != 0;
  return given_;
}

void Notice::settle() {
  const std::vector<char> sent = comm_.all_gather<char>(!comm_.is_root() && given_ ? 1 : 0);
  for (int rank = 1; comm_.is_root() && rank < comm_.size(); ++rank) {
    if (sent[static_cast<std::size_t>(rank)] == 0) continue;
    char word = 0;
    comm_.receive(std::span(&word, 1), rank, notice_tag);
  }
  sent_.wait();
}

}  // namespace galapagos
