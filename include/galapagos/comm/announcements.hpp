#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// Small messages that any rank of a group tells others whenever it likes, without waiting for them.
/// Every rank must reach settle(), but for those that an exception ends.
class Announcements {
 public:
  /// Collective.
  explicit Announcements(const Communicator& comm);

  /// To all others.
  void tell(std::span<const std::byte> message);
  /// To some others, none of them twice.
  void tell(std::span<const std::byte> message, std::span<const int> ranks);
  /// What another rank has told this one, if anything has come; each rank's messages come in their order.
  std::optional<std::vector<std::byte>> next();
  /// Collective, once nobody tells any more: what was still on its way.
  std::vector<std::vector<std::byte>> settle();

 private:
  struct Sent {
    std::vector<std::byte> message;
    std::vector<Request> requests;
  };
  /// Begun to be received: a long message may take until its sender calls MPI again.
  struct Arriving {
    int from = 0;
    std::vector<std::byte> message;
    Request request;
  };
  bool begin_to_receive(int from, bool wait);
  std::vector<std::byte> take(std::list<Arriving>::iterator which);

  Communicator comm_;
  std::list<Sent> sent_;
  std::list<Arriving> arriving_;
  std::vector<int> others_;           // each rank begins with another one
  std::vector<std::uint64_t> told_;   // to each rank
  std::vector<std::uint64_t> heard_;  // from each rank
};

}  // namespace galapagos
