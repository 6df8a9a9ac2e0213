#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/collectives.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// The ranks that compute one replica together, each with its part of every layer; or this rank alone, where
/// all of this does nothing. A rank that fails between two sums leaves the others waiting, so that its error
/// must end all ranks, or be agreed on by all shards before they go on.
class Shards {
 public:
  Shards() = default;
  /// `first_id`: where this rank's slice of the vocabulary begins.
  Shards(std::unique_ptr<Collectives> collectives, std::int64_t first_id)
      : collectives_(std::move(collectives)), first_id_(first_id) {}

  bool alone() const { return !collectives_ || collectives_->ranks().size() == 1; }
  int index() const { return collectives_ ? collectives_->ranks().rank() : 0; }
  int count() const { return collectives_ ? collectives_->ranks().size() : 1; }
  bool is_root() const { return index() == 0; }
  std::int64_t first_id() const { return first_id_; }
  /// Of more than one.
  const Communicator& ranks() const { return collectives_->ranks(); }

  /// Collective. Values, fp32 or bf16, become their sums over the shards, the same bits on each. Between the
  /// two, other tensors may be computed with.
  void start_sum(const Tensor& values) const;
  void finish_sum() const;
  void sum(const Tensor& values) const {
    start_sum(values);
    finish_sum();
  }
  /// The same of several small tensors, all in one message through `packed`, as long as they are together.
  void sum(std::span<const Tensor> values, const Tensor& packed) const;

  /// Looks after a sum that was started: ends it where an exception comes before finish_sum(), so that
  /// nothing writes into memory that is freed.
  class SumGuard {
   public:
    explicit SumGuard(const Shards& shards) : shards_(shards) {}
    ~SumGuard() { shards_.abandon_sum(); }
    SumGuard(const SumGuard&) = delete;
    SumGuard& operator=(const SumGuard&) = delete;

   private:
    const Shards& shards_;
  };

  /// Collective. Makes values that all shards hold those of the root, all in one message.
  void take_from_root(std::span<const Tensor> values) const;

  /// Collective. hidden [t, hidden] += x weight^T, summed over the shards, + bias, which all of them have and
  /// which may be null. A shard may have no columns of x.
  /// `room`, an activation as large as hidden, holds what is summed where it is bf16: hidden stays fp32.
  void add_product(const ops::Context& context, const Tensor& x, const Tensor& weight, const Tensor* bias,
                   const Tensor& hidden, const Tensor& room) const;

  /// Runs work with sums in it.
  template <typename Work>
  void run(Work&& work) const {
    if (alone()) return work();
    run_or_abort(work);
  }

  /// Collective. Whether the root says so.
  bool root_says(bool value) const {
    return alone() ? value : ranks().broadcast_value<char>(value ? 1 : 0) != 0;
  }

  /// Seconds spent in sums so far.
  double seconds() const { return seconds_; }

 private:
  void abandon_sum() const noexcept;

  std::unique_ptr<Collectives> collectives_;
  std::int64_t first_id_ = 0;
  mutable double seconds_ = 0;
  mutable bool summing_ = false;
};

/// No others.
const Shards& alone();

}  // namespace galapagos
