#include "mpi_check.hpp"

#include <algorithm>
#include <iterator>
#include <set>

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

bool Announcements::begin_to_receive(int from, bool wait) {
  int there = 1;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  if (wait) {
    GALAPAGOS_MPI(MPI_Mprobe(from, tag, comm_.handle(), &message, &status));
  } else {
    GALAPAGOS_MPI(MPI_Improbe(from, tag, comm_.handle(), &there, &message, &status));
  }
  if (there == 0) return false;
  int bytes = 0;
  GALAPAGOS_MPI(MPI_Get_count(&status, MPI_BYTE, &bytes));
  Arriving& arriving = arriving_.emplace_back();
  arriving.from = status.MPI_SOURCE;
  arriving.message.resize(static_cast<std::size_t>(bytes));
  MPI_Request request = MPI_REQUEST_NULL;
  GALAPAGOS_MPI(MPI_Imrecv(arriving.message.data(), bytes, MPI_BYTE, &message, &request));
  arriving.request = Request(request);
  return true;
}

/// One that is there.
std::vector<std::byte> Announcements::take(std::list<Arriving>::iterator which) {
  std::vector<std::byte> message = std::move(which->message);
  ++heard_[static_cast<std::size_t>(which->from)];
  arriving_.erase(which);
  return message;
}

std::optional<std::vector<std::byte>> Announcements::next() {
  if (comm_.size() == 1) return std::nullopt;
  while (begin_to_receive(MPI_ANY_SOURCE, false)) continue;
  std::set<int> late;  // whose earlier message is still on its way
  for (auto one = arriving_.begin(); one != arriving_.end(); ++one) {
    if (late.contains(one->from)) continue;
    if (one->request.done()) return take(one);
    late.insert(one->from);
  }
  return std::nullopt;
}

std::vector<std::vector<std::byte>> Announcements::settle() {
  std::vector<std::vector<std::byte>> rest;
  std::vector<std::uint64_t> told(told_.size());  // by each rank to this one
  GALAPAGOS_MPI(MPI_Alltoall(told_.data(), 1, MPI_UINT64_T, told.data(), 1, MPI_UINT64_T, comm_.handle()));
  for (int from = 0; from < comm_.size(); ++from) {
    if (from == comm_.rank()) continue;
    while (heard_[static_cast<std::size_t>(from)] < told[static_cast<std::size_t>(from)]) {
      const auto of_it = [&](const Arriving& one) { return one.from == from; };
      auto first = std::find_if(arriving_.begin(), arriving_.end(), of_it);
      if (first == arriving_.end()) {
        begin_to_receive(from, true);
        first = std::prev(arriving_.end());
      }
      first->request.wait();
      rest.push_back(take(first));
    }
  }
  sent_.clear();  // all have received it
  return rest;
}

}  // namespace galapagos
