#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <mpi.h>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace galapagos {

template <typename T>
concept Transferable = std::is_trivially_copyable_v<T>;

/// A pending non-blocking transfer; waits in its destructor, so that a buffer never dies under MPI's hands.
class Request {
 public:
  Request() = default;
  explicit Request(MPI_Request request) : request_(request) {}
  Request(Request&& other) noexcept : request_(std::exchange(other.request_, MPI_REQUEST_NULL)) {}
  Request& operator=(Request&& other) noexcept {
    std::swap(request_, other.request_);
    return *this;
  }
  ~Request();

  /// Blocks until done; the number of bytes received (0 for a send).
  std::size_t wait();
  bool done();

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

/// A group of MPI ranks. Owns its MPI communicator unless it is the world's. Failing MPI calls throw
/// FailureError. Counts may exceed 2^31: long transfers are cut into pieces.
class Communicator {
 public:
  /// All ranks.
  static Communicator world();
  /// Only the calling rank.
  static Communicator self();

  Communicator(Communicator&& other) noexcept
      : comm_(std::exchange(other.comm_, MPI_COMM_NULL)),
        owned_(other.owned_),
        rank_(other.rank_),
        size_(other.size_) {}
  Communicator& operator=(Communicator&& other) noexcept;
  ~Communicator();

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_root() const { return rank_ == 0; }
  MPI_Comm handle() const { return comm_; }

  /// Collective: ranks of one color form a new communicator, ordered by key.
  Communicator split(int color, int key) const;
  /// Collective: an own copy with the same ranks, whose messages never mix with this one's.
  Communicator duplicate() const;
  /// Collective: the ranks that share memory (a node) with the caller.
  Communicator split_node() const;

  void barrier() const;

  template <Transferable T>
  void broadcast(std::span<T> values, int root = 0) const {
    broadcast_bytes(std::as_writable_bytes(values), root);
  }
  /// The root's vector on every rank.
  template <Transferable T>
  void broadcast(std::vector<T>& values, int root = 0) const {
    values.resize(broadcast_value<std::uint64_t>(values.size(), root));
    broadcast(std::span<T>(values), root);
  }
  template <Transferable T>
  T broadcast_value(T value, int root = 0) const {
    broadcast(std::span<T>(&value, 1), root);
    return value;
  }
  std::string broadcast_string(const std::string& text, int root = 0) const;

  /// Every rank's value, in order of rank, on every rank.
  template <Transferable T>
  std::vector<T> all_gather(T value) const {
    std::vector<T> all(static_cast<std::size_t>(size_));
    all_gather_bytes(std::as_bytes(std::span<const T>(&value, 1)), std::as_writable_bytes(std::span<T>(all)));
    return all;
  }
  /// Every rank's values, as many on each, one rank's after the other's, on every rank.
  template <Transferable T>
  std::vector<T> all_gather(std::span<const T> values) const {
    std::vector<T> all(values.size() * static_cast<std::size_t>(size_));
    all_gather_bytes(std::as_bytes(values), std::as_writable_bytes(std::span<T>(all)));
    return all;
  }
  /// Every rank's values, one rank's after the other's, on the root; empty elsewhere. `counts` holds each
  /// rank's number.
  template <Transferable T>
  std::vector<T> gather(std::span<const T> values, std::vector<std::uint64_t>* counts = nullptr,
                        int root = 0) const {
    const std::vector<std::uint64_t> sizes = all_gather<std::uint64_t>(values.size());
    if (counts != nullptr) *counts = sizes;
    if (rank_ != root) {
      if (!values.empty()) send(values, root, gather_tag);
      return {};
    }
    std::vector<T> all;
    for (int source = 0; source < size_; ++source) {
      const std::size_t at = all.size();
      all.resize(at + sizes[static_cast<std::size_t>(source)]);
      const std::span<T> place = std::span<T>(all).subspan(at);
      if (source == rank_) {
        std::copy(values.begin(), values.end(), place.begin());
      } else if (!place.empty()) {
        receive(place, source, gather_tag);
      }
    }
    return all;
  }

  std::int64_t sum(std::int64_t value) const;
  double sum(double value) const;
  std::int64_t max(std::int64_t value) const;
  double max(double value) const;
  std::int64_t min(std::int64_t value) const;
  bool all(bool value) const { return min(static_cast<std::int64_t>(value)) != 0; }
  bool any(bool value) const { return max(static_cast<std::int64_t>(value)) != 0; }

  /// `values`, equally many on every rank, are summed over the ranks; rank r gets elements [bounds[r],
  /// bounds[r + 1]) of the sum in `mine`, which may be where they lie in `values`. bounds[0] = 0, and the
  /// last is values.size().
  void sum_to_owners(std::span<const float> values, std::span<const std::uint64_t> bounds,
                     std::span<float> mine) const;

  template <Transferable T>
  void send(std::span<const T> values, int to, int tag) const {
    send_bytes(std::as_bytes(values), to, tag);
  }
  /// Blocks until exactly values.size() elements have come; FailureError where fewer come.
  template <Transferable T>
  void receive(std::span<T> values, int from, int tag) const {
    receive_bytes(std::as_writable_bytes(values), from, tag);
  }
  /// One message of at most 2^31 - 1 bytes.
  Request send_async(std::span<const std::byte> bytes, int to, int tag) const;
  Request receive_async(std::span<std::byte> bytes, int from, int tag) const;

 private:
  Communicator(MPI_Comm comm, bool owned);

  void broadcast_bytes(std::span<std::byte> bytes, int root) const;
  void all_gather_bytes(std::span<const std::byte> mine, std::span<std::byte> all) const;
  void send_bytes(std::span<const std::byte> bytes, int to, int tag) const;
  void receive_bytes(std::span<std::byte> bytes, int from, int tag) const;

  static constexpr int gather_tag = 32001;

  MPI_Comm comm_ = MPI_COMM_NULL;
  bool owned_ = false;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace galapagos
