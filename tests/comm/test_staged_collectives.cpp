#include "exchange_parts.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include <galapagos/comm/staged_collectives.hpp>

using namespace galapagos;

namespace {

/// Stands for a GPU and its stream of copies: they are done only when somebody waits for them, so that what
/// is read too early is not there yet.
class LateStaging : public Staging {
 public:
  explicit LateStaging(std::size_t piece)
      : piece_(piece), places_(places, std::vector<float>(piece, -1.0F)) {}

  std::size_t piece() const override { return piece_; }
  float* host(int place) override { return places_[static_cast<std::size_t>(place)].data(); }
  void begin() override { ++begun; }
  void copy_down(const std::byte* from, int place, std::size_t at, std::size_t bytes) override {
    if (bytes > 0) later(bytes_of(place) + at, from, bytes);
    downs_[place] = queue_.size();
  }
  void copy_up(int place, std::size_t at, std::byte* to, std::size_t bytes) override {
    later(to, bytes_of(place) + at, bytes);
  }
  void wait_down(int place) override { run_until(downs_[place]); }
  void end() override {
    run_until(queue_.size());
    ++ended;
  }
  void wait() noexcept override { run_until(queue_.size()); }

  std::size_t begun = 0, ended = 0, longest = 0;

 private:
  std::byte* bytes_of(int place) { return reinterpret_cast<std::byte*>(host(place)); }
  void later(std::byte* to, const std::byte* from, std::size_t bytes) {
    longest = std::max(longest, bytes / sizeof(float));
    queue_.emplace_back([=] { std::memcpy(to, from, bytes); });
  }
  void run_until(std::size_t end) {
    for (; done_ < end; ++done_) queue_[done_]();
  }

  std::size_t piece_;
  std::vector<std::vector<float>> places_;
  std::vector<std::function<void()>> queue_;
  std::size_t done_ = 0, downs_[places] = {0, 0};
};

}  // namespace

TEST_CASE("sums through host memory, in one piece and in many", "[staged]") {
  const Communicator world = Communicator::world();
  const auto ranks = static_cast<float>(world.size()), me = static_cast<float>(world.rank());
  for (const std::size_t count : {0, 1, 999, 1000, 1001, 2000, 2001, 3000, 123'457}) {
    auto made = std::make_unique<LateStaging>(1000);
    const LateStaging& staging = *made;
    const std::unique_ptr<Collectives> collectives = make_staged_collectives(world, std::move(made));
    CHECK(collectives->ranks().size() == world.size());
    // Twice, so that places are used again.
    for (std::size_t round = 1; round <= 2; ++round) {
      std::vector<float> values(count);
      const auto value = [&](std::size_t i) { return static_cast<float>(i % 4093 + round); };
      for (std::size_t i = 0; i < count; ++i) values[i] = value(i) * (me + 1);
      collectives->start_sum(values.data(), count);
      collectives->finish_sum();
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < count; ++i)
        wrong += values[i] != value(i) * ranks * (ranks + 1) / 2 ? 1 : 0;
      CHECK(wrong == 0);
      CHECK(staging.begun == round);
      CHECK(staging.ended == round);
    }
    CHECK(staging.longest == std::min<std::size_t>(count, 1000));
  }
}

TEST_CASE("sums of many values in pieces of a length that is used", "[staged]") {
  const Communicator world = Communicator::world();
  const std::unique_ptr<Collectives> staged =
      make_staged_collectives(world, std::make_unique<LateStaging>(std::size_t{1} << 20));
  const std::unique_ptr<Collectives> direct = make_mpi_collectives(world);
  std::vector<float> values(5'000'011);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = 0.1F * static_cast<float>((i * 2654435761u + static_cast<std::size_t>(world.rank())) % 1009);
  std::vector<float> same = values;
  staged->start_sum(values.data(), values.size());
  direct->start_sum(same.data(), same.size());
  direct->finish_sum();
  staged->finish_sum();
  double worst = 0;  // the two may add in other orders
  for (std::size_t i = 0; i < values.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(values[i]) - same[i]));
  CHECK(worst < 1e-3);
  // The same bits on every rank.
  std::uint64_t bits = 0;
  for (const float value : values) {
    std::uint32_t word = 0;
    std::memcpy(&word, &value, sizeof word);
    bits = bits * 1099511628211ull + word;
  }
  const std::vector<std::uint64_t> all = world.all_gather(bits);
  for (const std::uint64_t other : all) CHECK(other == bits);
}

TEST_CASE("parts of a sum go through host memory to their owners, and parts to all", "[staged]") {
  const Communicator world = Communicator::world();
  for (const std::size_t piece : {7, 1000, 1 << 20}) {
    const auto collectives = make_staged_collectives(world, std::make_unique<LateStaging>(piece));
    for (const bool even : {false, true}) {
      for (const std::uint64_t unit : {1, 100, 1003}) {
        if (piece < 1000 && unit > 100) continue;  // many rounds
        test::check_parts(*collectives, unit, even);
      }
    }
  }
}

TEST_CASE("sums of bf16 go through host memory, in one piece and in many", "[staged]") {
  const auto collectives =
      make_staged_collectives(Communicator::world(), std::make_unique<LateStaging>(1000));
  for (const std::size_t count : {0, 1, 24, 1999, 2000, 2001, 4001, 100'001})
    test::check_bf16_sum(*collectives, count);
  std::vector<float> values(2500, 1.0F);  // and fp32 after them
  collectives->start_sum(values.data(), values.size());
  collectives->finish_sum();
  const auto ranks = static_cast<float>(collectives->ranks().size());
  CHECK(std::all_of(values.begin(), values.end(), [&](float value) { return value == ranks; }));
}

TEST_CASE("messages go through host memory from rank to rank, in one piece and in many", "[staged]") {
  const Communicator world = Communicator::world();
  const auto collectives = make_staged_collectives(world, std::make_unique<LateStaging>(1000));
  for (const std::size_t bytes : {0, 1, 3999, 4000, 4001, 8000, 12'001, 123'457})
    test::check_messages(*collectives, bytes);
}

TEST_CASE("no copy is on its way after a sum was abandoned", "[staged]") {
  const Communicator world = Communicator::world();
  auto made = std::make_unique<LateStaging>(1000);
  LateStaging& staging = *made;
  const auto collectives = make_staged_collectives(world, std::move(made));
  std::vector<float> values(1500, 2.0F);
  collectives->start_sum(values.data(), values.size());
  CHECK(staging.host(1)[0] == -1);
  collectives->abandon_sum();
  CHECK(staging.host(1)[0] == 2);
}
