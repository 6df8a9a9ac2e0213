#include "mpi_check.hpp"

#include <algorithm>

#include <galapagos/comm/announcements.hpp>

namespace galapagos {
namespace {

constexpr int tag = 1;

}  // namespace

Announcements::Announcements(const Communicator& comm)
    : comm_(comm.duplicate()),
      told_(static_cast<std::size_t>(comm.size())),
      heard_(static_cast<std::size_t>(comm.size())) {
  for (int other = 1; other < comm.size(); ++other) others_.push_back((comm.rank() + other) % comm.size());
}

void Announcements::tell(std::span<const std::byte> message) {
  tell(message, others_);
}

void Announcements::tell(std::span<const std::byte> message, std::span<const int> ranks) {
  std::erase_if(sent_, [](Sent& sent) {
    return std::all_of(sent.requests.begin(), sent.requests.end(),
                       [](Request& request) { return request.done(); });
  });
  Sent& sent = sent_.emplace_back();
  sent.message.assign(message.begin(), message.end());
  for (const int to : ranks) {
    sent.requests.push_back(comm_.send_async(sent.message, to, tag));
    ++told_[static_cast<std::size_t>(to)];
  }
}

std::optional<std::vector<std::byte>> Announcements::receive(int from, bool wait) {
  int there = 1;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  if (wait) {
    GALAPAGOS_MPI(MPI_Mprobe(from, tag, comm_.handle(), &message, &status));
  } else {
    GALAPAGOS_MPI(MPI_Improbe(from, tag, comm_.handle(), &there, &message, &status));
  }
  if (there == 0) return std::nullopt;
  int bytes = 0;
  GALAPAGOS_MPI(MPI_Get_count(&status, MPI_BYTE, &bytes));
  std::vector<std::byte> received(static_cast<std::size_t>(bytes));
  GALAPAGOS_MPI(MPI_Mrecv(received.data(), bytes, MPI_BYTE, &message, MPI_STATUS_IGNORE));
  ++heard_[static_cast<std::size_t>(status.MPI_SOURCE)];
  return received;
}

std::optional<std::vector<std::byte>> Announcements::next() {
  if (comm_.size() == 1) return std::nullopt;
  return receive(MPI_ANY_SOURCE, false);
}

std::vector<std::vector<std::byte>> Announcements::settle() {
  std::vector<std::vector<std::byte>> rest;
  std::vector<std::uint64_t> told(told_.size());  // by each rank to this one
  GALAPAGOS_MPI(MPI_Alltoall(told_.data(), 1, MPI_UINT64_T, told.data(), 1, MPI_UINT64_T, comm_.handle()));
  for (int from = 0; from < comm_.size(); ++from) {
    if (from == comm_.rank()) continue;
    while (heard_[static_cast<std::size_t>(from)] < told[static_cast<std::size_t>(from)])
      rest.push_back(*receive(from, true));
  }
  sent_.clear();  // all have received it
  return rest;
}

}  // namespace galapagos
