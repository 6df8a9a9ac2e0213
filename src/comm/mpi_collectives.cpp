#include "bf16_sum.hpp"
#include "mpi_check.hpp"
#include "staged_parts.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <vector>

#include <galapagos/comm/collectives.hpp>

namespace galapagos {
namespace {

/// Parts that lie in host memory are packed where MPI reads them.
class HostStaging : public Staging {
 public:
  /// With room for `bytes`, or for some of them at a time.
  explicit HostStaging(std::size_t bytes)
      : values_(std::min(std::size_t{1} << 22, (bytes + sizeof(float) - 1) / sizeof(float))) {}

  std::size_t piece() const override { return values_.size(); }
  float* host(int) override { return values_.data(); }  // copies are done at once, so that one is enough
  void begin() override {}
  void copy_down(const std::byte* from, int place, std::size_t at, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(reinterpret_cast<std::byte*>(host(place)) + at, from, bytes);
  }
  void copy_up(int place, std::size_t at, std::byte* to, std::size_t bytes) override {
    std::memcpy(to, reinterpret_cast<const std::byte*>(host(place)) + at, bytes);
  }
  void wait_down(int) override {}
  void end() override {}
  void wait() noexcept override {}

 private:
  std::vector<float> values_;
};

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

  void start_sum(float* values, std::size_t count) override { start(values, count, MPI_FLOAT, MPI_SUM); }
  void start_sum_bf16(std::uint16_t* values, std::size_t count) override {
    start(values, count, MPI_UINT16_T, bf16_sum_.get());
  }

  void finish_sum() override {
    std::vector<MPI_Request> pending;
    pending.swap(pending_);
    for (MPI_Request& request : pending) GALAPAGOS_MPI(MPI_Wait(&request, MPI_STATUS_IGNORE));
  }

  void sum_to_owners(float* values, std::span<const std::uint64_t> bounds) override {
    const auto me = static_cast<std::size_t>(ranks().rank());
    const std::span<float> all(values, bounds.back());
    ranks().sum_to_owners(all, bounds, all.subspan(bounds[me], bounds[me + 1] - bounds[me]));
  }

  void all_gather_parts(std::span<const GatheredPart> parts) override {
    std::size_t bytes = 0;
    for (const GatheredPart& part : parts) bytes += part.bytes;
    HostStaging staging(bytes);
    galapagos::all_gather_parts(ranks(), staging, parts);
  }

  void send(const std::byte* data, std::size_t bytes, int to) override {
    ranks().send(std::span(data, bytes), to, message_tag);
  }
  void receive(std::byte* data, std::size_t bytes, int from) override {
    ranks().receive(std::span(data, bytes), from, message_tag);
  }

 private:
  template <typename Value>
  void start(Value* values, std::size_t count, MPI_Datatype type, MPI_Op op) {
    constexpr std::size_t piece = std::size_t{1} << 28;  // MPI 3 counts are int
    for (std::size_t at = 0; at < count; at += piece) {
      MPI_Request request = MPI_REQUEST_NULL;
      GALAPAGOS_MPI(MPI_Iallreduce(MPI_IN_PLACE, values + at, static_cast<int>(std::min(piece, count - at)),
                                   type, op, of_sums_->handle(), &request));
      pending_.push_back(request);
    }
  }

  Bf16Sum bf16_sum_;
  std::unique_ptr<Communicator> of_sums_;
  std::vector<MPI_Request> pending_;
};

}  // namespace

std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& ranks) {
  return std::make_unique<MpiCollectives>(ranks);
}

}  // namespace galapagos
