#include "bf16_sum.hpp"
#include "mpi_check.hpp"
#include "staged_parts.hpp"

#include <algorithm>

#include <galapagos/comm/staged_collectives.hpp>

namespace galapagos {
namespace {

class StagedCollectives : public Collectives {
 public:
  StagedCollectives(const Communicator& ranks, std::unique_ptr<Staging> staging)
      : Collectives(ranks), staging_(std::move(staging)) {}

  void start_sum(float* values, std::size_t count) override {
    start({reinterpret_cast<std::byte*>(values), count, sizeof(float), MPI_FLOAT, MPI_SUM});
  }
  void start_sum_bf16(std::uint16_t* values, std::size_t count) override {
    start(
        {reinterpret_cast<std::byte*>(values), count, sizeof(std::uint16_t), MPI_UINT16_T, bf16_sum_.get()});
  }

  void finish_sum() override {
    for (std::size_t i = 0; i < pieces(); ++i) {
      staging_->wait_down(place(i));
      GALAPAGOS_MPI(MPI_Iallreduce(MPI_IN_PLACE, staging_->host(place(i)), static_cast<int>(length(i)),
                                   sum_.type, sum_.op, ranks().handle(), &sums_[place(i)]));
      if (i > 0) {
        copy_up(i - 1);
        if (i + 1 < pieces()) copy_down(i + 1);  // to the place that was just emptied
      }
    }
    if (sum_.count > 0) copy_up(pieces() - 1);
    staging_->end();
    sum_ = {};
  }

  void abandon_sum() noexcept override { staging_->wait(); }

  void sum_to_owners(float* values, std::span<const std::uint64_t> bounds) override {
    galapagos::sum_to_owners(ranks(), *staging_, values, bounds);
  }
  void all_gather_parts(std::span<const GatheredPart> parts) override {
    galapagos::all_gather_parts(ranks(), *staging_, parts);
  }
  void send(const std::byte* data, std::size_t bytes, int to) override {
    galapagos::send(ranks(), *staging_, data, bytes, to);
  }
  void receive(std::byte* data, std::size_t bytes, int from) override {
    galapagos::receive(ranks(), *staging_, data, bytes, from);
  }

 private:
  struct Sum {
    std::byte* values = nullptr;
    std::size_t count = 0, size = sizeof(float);  // of a value
    MPI_Datatype type = MPI_FLOAT;
    MPI_Op op = MPI_SUM;
  };

  void start(const Sum& sum) {
    sum_ = sum;
    staging_->begin();
    for (std::size_t i = 0; i < std::min(pieces(), std::size_t{Staging::places}); ++i) copy_down(i);
  }

  /// Values in a piece.
  std::size_t piece() const { return staging_->piece() * sizeof(float) / sum_.size; }
  std::size_t pieces() const { return (sum_.count + piece() - 1) / piece(); }
  std::size_t length(std::size_t i) const { return std::min(piece(), sum_.count - i * piece()); }
  static int place(std::size_t i) { return static_cast<int>(i % Staging::places); }

  std::byte* part(std::size_t i) const { return sum_.values + i * piece() * sum_.size; }

  void copy_down(std::size_t i) { staging_->copy_down(part(i), place(i), 0, length(i) * sum_.size); }

  void copy_up(std::size_t i) {
    GALAPAGOS_MPI(MPI_Wait(&sums_[place(i)], MPI_STATUS_IGNORE));
    staging_->copy_up(place(i), 0, part(i), length(i) * sum_.size);
  }

  std::unique_ptr<Staging> staging_;
  Bf16Sum bf16_sum_;
  Sum sum_;
  MPI_Request sums_[Staging::places] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
};

}  // namespace

std::unique_ptr<Collectives> make_staged_collectives(const Communicator& ranks,
                                                     std::unique_ptr<Staging> staging) {
  return std::make_unique<StagedCollectives>(ranks, std::move(staging));
}

}  // namespace galapagos
