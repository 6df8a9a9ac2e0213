#include "support/catch.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/model/collectives_check.hpp>

using namespace galapagos;

namespace {

enum class Damage { none, sum, bf16_sum, sum_to_owners, gathering, message };

/// A network that changes one value of long messages on the last rank, and says nothing.
class DamagingCollectives : public Collectives {
 public:
  DamagingCollectives(const Communicator& ranks, Damage damage, std::size_t from)
      : Collectives(ranks), sound_(make_mpi_collectives(ranks)), damage_(damage), from_(from) {}

  void start_sum(float* values, std::size_t count) override {
    sound_->start_sum(values, count);
    values_ = values;
    count_ = count;
  }
  void start_sum_bf16(std::uint16_t* values, std::size_t count) override {
    sound_->start_sum_bf16(values, count);
    words_ = values;
    count_ = count;
  }
  void finish_sum() override {
    sound_->finish_sum();
    if (words_ != nullptr) {
      damage(Damage::bf16_sum, std::exchange(words_, nullptr), count_, count_);
    } else {
      damage(Damage::sum, values_, count_, count_);
    }
  }
  void sum_to_owners(float* values, std::span<const std::uint64_t> bounds) override {
    sound_->sum_to_owners(values, bounds);
    damage(Damage::sum_to_owners, values, bounds.back(), bounds.back());
  }
  void all_gather_parts(std::span<const GatheredPart> parts) override {
    sound_->all_gather_parts(parts);
    std::size_t bytes = 0;
    for (const GatheredPart& part : parts) bytes += part.bytes;
    damage(Damage::gathering, reinterpret_cast<float*>(parts.front().data), 1, bytes / sizeof(float));
  }
  void send(const std::byte* data, std::size_t bytes, int to) override { sound_->send(data, bytes, to); }
  void receive(std::byte* data, std::size_t bytes, int from) override {
    sound_->receive(data, bytes, from);
    const std::size_t count = bytes / sizeof(float);
    damage(Damage::message, reinterpret_cast<float*>(data), count, count);
  }

 private:
  template <typename Value>
  void damage(Damage what, Value* values, std::size_t count, std::size_t length) const {
    if (what == damage_ && length >= from_ && ranks().rank() == ranks().size() - 1) ++values[count - 1];
  }

  std::unique_ptr<Collectives> sound_;
  Damage damage_;
  std::size_t from_;
  float* values_ = nullptr;
  std::uint16_t* words_ = nullptr;
  std::size_t count_ = 0;
};

/// Whether the check says so on this rank, as an error that all ranks know of.
bool found(const Communicator& world, Damage damage, std::size_t from, std::size_t largest) {
  DamagingCollectives collectives(world, damage, from);
  try {
    check_exchange(collectives, ops::Context(), largest, DType::bf16);
    check_messages(collectives, ops::Context(), largest);
    return false;
  } catch (const Error& error) {
    CHECK(error.agreed());
    CHECK(error.code() == ExitCode::failure);
    const bool own = std::string(error.what()).find("NCCL_PROTO") != std::string::npos;
    CHECK(own == (world.rank() == world.size() - 1));  // the word of the rank that has seen it
    return true;
  }
}

}  // namespace

TEST_CASE("the check of what ranks exchange finds one wrong value on one rank", "[collectives]") {
  const Communicator world = Communicator::world();
  for (const Damage damage :
       {Damage::sum, Damage::bf16_sum, Damage::sum_to_owners, Damage::gathering, Damage::message}) {
    CHECK(found(world, damage, 1, 5000) == (world.size() > 1));
    CHECK(found(world, damage, 5000, 5000) == (world.size() > 1));  // of the longest message alone
    CHECK(!found(world, damage, 5001, 5000));
  }
}

TEST_CASE("the check passes where all is well, for any length", "[collectives]") {
  const Communicator world = Communicator::world();
  for (const std::size_t largest : {0, 1, 2, 3, 4096, 3'000'001})  // the last in several chunks
    CHECK(!found(world, Damage::none, 0, largest));
}
