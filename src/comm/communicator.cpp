#include "mpi_check.hpp"
#include "rounds.hpp"

#include <algorithm>
#include <limits>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {
namespace {

// MPI 3 counts are int.
constexpr std::size_t piece = std::size_t{1} << 30;

template <typename T>
T reduce(MPI_Comm comm, T value, MPI_Datatype type, MPI_Op op) {
  T result{};
  GALAPAGOS_MPI(MPI_Allreduce(&value, &result, 1, type, op, comm));
  return result;
}

constexpr std::uint64_t elements_at_a_time = 1 << 22;

}  // namespace

Request::~Request() {
  if (request_ != MPI_REQUEST_NULL) MPI_Wait(&request_, MPI_STATUS_IGNORE);
}

std::size_t Request::wait() {
  if (request_ == MPI_REQUEST_NULL) return 0;
  MPI_Status status;
  GALAPAGOS_MPI(MPI_Wait(&request_, &status));
  int count = 0;
  MPI_Get_count(&status, MPI_BYTE, &count);
  return count == MPI_UNDEFINED ? 0 : static_cast<std::size_t>(count);
}

bool Request::done() {
  int flag = 1;
  if (request_ != MPI_REQUEST_NULL) GALAPAGOS_MPI(MPI_Test(&request_, &flag, MPI_STATUS_IGNORE));
  return flag != 0;
}

Communicator::Communicator(MPI_Comm comm, bool owned) : comm_(comm), owned_(owned) {
  // Errors come back as codes, which become exceptions with a message of ours.
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  GALAPAGOS_MPI(MPI_Comm_rank(comm_, &rank_));
  GALAPAGOS_MPI(MPI_Comm_size(comm_, &size_));
}

Communicator Communicator::world() {
  return {MPI_COMM_WORLD, false};
}
Communicator Communicator::self() {
  return {MPI_COMM_SELF, false};
}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
  std::swap(comm_, other.comm_);
  std::swap(owned_, other.owned_);
  std::swap(rank_, other.rank_);
  std::swap(size_, other.size_);
  return *this;
}

Communicator::~Communicator() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (owned_ && comm_ != MPI_COMM_NULL && finalized == 0) MPI_Comm_free(&comm_);
}

Communicator Communicator::split(int color, int key) const {
  MPI_Comm part = MPI_COMM_NULL;
  GALAPAGOS_MPI(MPI_Comm_split(comm_, color, key, &part));
  return {part, true};
}

Communicator Communicator::duplicate() const {
  MPI_Comm copy = MPI_COMM_NULL;
  GALAPAGOS_MPI(MPI_Comm_dup(comm_, &copy));
  return {copy, true};
}

Communicator Communicator::split_node() const {
  MPI_Comm node = MPI_COMM_NULL;
  GALAPAGOS_MPI(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node));
  return {node, true};
}

void Communicator::barrier() const {
  GALAPAGOS_MPI(MPI_Barrier(comm_));
}

std::string Communicator::broadcast_string(const std::string& text, int root) const {
  std::vector<char> bytes(text.begin(), text.end());
  broadcast(bytes, root);
  return {bytes.begin(), bytes.end()};
}

std::int64_t Communicator::sum(std::int64_t value) const {
  return reduce(comm_, value, MPI_INT64_T, MPI_SUM);
}
double Communicator::sum(double value) const {
  return reduce(comm_, value, MPI_DOUBLE, MPI_SUM);
}
std::int64_t Communicator::max(std::int64_t value) const {
  return reduce(comm_, value, MPI_INT64_T, MPI_MAX);
}
double Communicator::max(double value) const {
  return reduce(comm_, value, MPI_DOUBLE, MPI_MAX);
}
std::int64_t Communicator::min(std::int64_t value) const {
  return reduce(comm_, value, MPI_INT64_T, MPI_MIN);
}

Request Communicator::send_async(std::span<const std::byte> bytes, int to, int tag) const {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw FailureError("a message of more than 2 GiB", "send_async", "report this as a defect");
  }
  MPI_Request request = MPI_REQUEST_NULL;
  GALAPAGOS_MPI(MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, to, tag, comm_, &request));
  return Request(request);
}

Request Communicator::receive_async(std::span<std::byte> bytes, int from, int tag) const {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw FailureError("a message of more than 2 GiB", "receive_async", "report this as a defect");
  }
  MPI_Request request = MPI_REQUEST_NULL;
  GALAPAGOS_MPI(
      MPI_Irecv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, from, tag, comm_, &request));
  return Request(request);
}

void Communicator::broadcast_bytes(std::span<std::byte> bytes, int root) const {
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const std::size_t count = std::min(piece, bytes.size() - at);
    GALAPAGOS_MPI(MPI_Bcast(bytes.data() + at, static_cast<int>(count), MPI_BYTE, root, comm_));
  }
}

void Communicator::all_gather_bytes(std::span<const std::byte> mine, std::span<std::byte> all) const {
  const int count = static_cast<int>(mine.size());
  GALAPAGOS_MPI(MPI_Allgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, comm_));
}

void Communicator::sum_to_owners(std::span<const float> values, std::span<const std::uint64_t> bounds,
                                 std::span<float> mine) const {
  const auto me = static_cast<std::size_t>(rank_);
  Rounds rounds(bounds, elements_at_a_time);
  std::vector<float> packed(rounds.most());
  while (rounds.next()) {
    for (std::size_t r = 0; r < rounds.ranks(); ++r) {
      std::copy_n(values.data() + rounds.in_all(r), rounds.counts[r], packed.data() + rounds.starts[r]);
    }
    GALAPAGOS_MPI(MPI_Reduce_scatter(packed.data(), mine.data() + rounds.in_part(me), rounds.counts.data(),
                                     MPI_FLOAT, MPI_SUM, comm_));
  }
}

void Communicator::send_bytes(std::span<const std::byte> bytes, int to, int tag) const {
  std::size_t at = 0;
  do {
    const std::size_t count = std::min(piece, bytes.size() - at);
    GALAPAGOS_MPI(MPI_Send(bytes.data() + at, static_cast<int>(count), MPI_BYTE, to, tag, comm_));
    at += count;
  } while (at < bytes.size());
}

void Communicator::receive_bytes(std::span<std::byte> bytes, int from, int tag) const {
  std::size_t at = 0;
  do {
    const std::size_t count = std::min(piece, bytes.size() - at);
    const std::size_t got = receive_async(bytes.subspan(at, count), from, tag).wait();
    if (got != count) {
      throw FailureError("a message came shorter than agreed", "receive", "report this as a defect");
    }
    at += count;
  } while (at < bytes.size());
}

}  // namespace galapagos
