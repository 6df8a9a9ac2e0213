#include "mpi_check.hpp"

#include <algorithm>
#include <exception>
#include <memory>
#include <vector>

#include <galapagos/comm/collectives.hpp>

namespace galapagos {
namespace {

class MpiCollectives : public Collectives {
 public:
  explicit MpiCollectives(const Communicator& ranks)
      : Collectives(ranks), of_sums_(std::make_unique<Communicator>(ranks.duplicate())) {}
  ~MpiCollectives() override {
    if (pending_.empty()) return;
    // The other ranks may never come to a sum that an exception has cut short here: waiting would hide it.
    // Nor can what MPI still works with be freed.
    if (std::uncaught_exceptions() > 0) {
      static_cast<void>(of_sums_.release());
      return;
    }
    for (MPI_Request& request : pending_) MPI_Wait(&request, MPI_STATUS_IGNORE);
  }

  void start_sum(float* values, std::size_t count) override {
    constexpr std::size_t piece = std::size_t{1} << 28;  // MPI 3 counts are int
    for (std::size_t at = 0; at < count; at += piece) {
      MPI_Request request = MPI_REQUEST_NULL;
      GALAPAGOS_MPI(MPI_Iallreduce(MPI_IN_PLACE, values + at, static_cast<int>(std::min(piece, count - at)),
                                   MPI_FLOAT, MPI_SUM, of_sums_->handle(), &request));
      pending_.push_back(request);
    }
  }

  void finish_sum() override {
    std::vector<MPI_Request> pending;
    pending.swap(pending_);
    for (MPI_Request& request : pending) GALAPAGOS_MPI(MPI_Wait(&request, MPI_STATUS_IGNORE));
  }

 private:
  std::unique_ptr<Communicator> of_sums_;
  std::vector<MPI_Request> pending_;
};

}  // namespace

std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& ranks) {
  return std::make_unique<MpiCollectives>(ranks);
}

}  // namespace galapagos
