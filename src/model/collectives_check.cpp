#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/model/collectives_check.hpp>

namespace galapagos {
namespace {

constexpr std::size_t chunk = std::size_t{1} << 20;  // values that are compared at a time

/// Whole numbers for one exchange, other ones for another; sums over all ranks stay below 2^24.
class Pattern {
 public:
  Pattern(int ranks, std::uint64_t number)
      : ranks_(static_cast<std::uint64_t>(ranks)),
        modulus_(std::max<std::uint64_t>(2, std::min<std::uint64_t>(4093, (1u << 23) / ranks_))),
        shift_(number * 0x9e3779b97f4a7c15u) {}

  float of(int rank, std::size_t i) const {
    return static_cast<float>(base(i) + static_cast<std::uint64_t>(rank) % cycle);
  }
  float sum(std::size_t i) const {
    const std::uint64_t rest = ranks_ % cycle;
    return static_cast<float>(ranks_ * base(i) + ranks_ / cycle * (cycle * (cycle - 1) / 2) +
                              (rest > 0 ? rest * (rest - 1) / 2 : 0));
  }

 private:
  static constexpr std::uint64_t cycle = 64;  // ranks, after which their numbers begin anew

  std::uint64_t base(std::size_t i) const { return ((i + shift_) * 2654435761u >> 16) % modulus_; }

  std::uint64_t ranks_, modulus_, shift_;
};

/// The same as words of bf16: sums over all ranks stay up to 2^8.
class Bf16Pattern {
 public:
  Bf16Pattern(int ranks, std::uint64_t number)
      : ranks_(static_cast<std::uint64_t>(ranks)),
        modulus_(std::max<std::uint64_t>(1, 255 / ranks_)),
        shift_(number * 0x9e3779b97f4a7c15u) {}

  std::uint16_t of(int rank, std::size_t i) const {
    return word(base(i) + ((i + shift_) % ranks_ == static_cast<std::uint64_t>(rank) ? 1 : 0));
  }
  std::uint16_t sum(std::size_t i) const { return word(ranks_ * base(i) + 1); }

 private:
  static std::uint16_t word(std::uint64_t value) { return to_bfloat16(static_cast<float>(value)).bits; }
  std::uint64_t base(std::size_t i) const { return ((i + shift_) * 2654435761u >> 16) % modulus_; }

  std::uint64_t ranks_, modulus_, shift_;
};

float number_of(float value) {
  return value;
}
float number_of(std::uint16_t word) {
  return to_float(BFloat16{word});
}

class Checker {
 public:
  Checker(Collectives& collectives, const ops::Context& context, std::size_t largest,
          bool with_messages = false)
      : collectives_(collectives),
        rank_(collectives.ranks().rank()),
        size_(collectives.ranks().size()),
        values_(room(context, largest)),
        received_(with_messages ? room(context, largest) : OwnedTensor()),
        host_(std::min(chunk, largest) * sizeof(float)) {}

  void sums(std::size_t count) {
    const Pattern pattern(size_, ++number_);
    put(0, count, [&](std::size_t i) { return pattern.of(rank_, i); });
    collectives_.start_sum(values_->floats(), count);
    collectives_.finish_sum();
    compare("a sum", count, 0, count, [&](std::size_t i) { return pattern.sum(i); });
  }

  void bf16_sums(std::size_t count) {
    const Bf16Pattern pattern(size_, ++number_);
    put(0, count, [&](std::size_t i) { return pattern.of(rank_, i); });
    collectives_.start_sum_bf16(reinterpret_cast<std::uint16_t*>(values_->data), count);
    collectives_.finish_sum();
    compare("a sum of bf16", count, 0, count, [&](std::size_t i) { return pattern.sum(i); });
  }

  void parts(std::size_t count) {
    const Pattern pattern(size_, ++number_);
    std::vector<std::uint64_t> bounds;
    for (std::size_t r = 0; r <= static_cast<std::size_t>(size_); ++r)
      bounds.push_back(count * r / static_cast<std::size_t>(size_));
    const std::size_t begin = bounds[static_cast<std::size_t>(rank_)],
                      end = bounds[static_cast<std::size_t>(rank_) + 1];
    put(0, count, [&](std::size_t i) { return pattern.of(rank_, i); });
    collectives_.sum_to_owners(values_->floats(), bounds);
    compare("a sum to owners", count, begin, end, [&](std::size_t i) { return pattern.sum(i); });
    put(0, begin, [](std::size_t) { return -1.0F; });
    put(begin, end, [&](std::size_t i) { return pattern.sum(i); });
    put(end, count, [](std::size_t) { return -1.0F; });
    std::vector<GatheredPart> parts;
    for (std::size_t r = 0; r + 1 < bounds.size(); ++r) {
      parts.push_back({values_->data + bounds[r] * sizeof(float), (bounds[r + 1] - bounds[r]) * sizeof(float),
                       static_cast<int>(r)});
    }
    collectives_.all_gather_parts(parts);
    compare("a gathering", count, 0, count, [&](std::size_t i) { return pattern.sum(i); });
  }

  /// From each rank to the next, one after the other.
  void messages(std::size_t count) {
    const Pattern pattern(size_, ++number_);
    put(0, count, [&](std::size_t i) { return pattern.of(rank_, i); });
    const std::size_t bytes = count * sizeof(float);
    for (int from = 0; from < size_; ++from) {
      const int to = (from + 1) % size_;
      if (from == rank_) collectives_.send(values_->data, bytes, to);
      if (to != rank_) continue;
      collectives_.receive(received_->data, bytes, from);
    }
    std::swap(values_, received_);
    const int before = (rank_ + size_ - 1) % size_;
    compare("a message", count, 0, count, [&](std::size_t i) { return pattern.of(before, i); });
  }

  /// What was wrong first on this rank.
  const std::optional<std::string>& fault() const { return fault_; }

 private:
  static OwnedTensor room(const ops::Context& context, std::size_t count) {
    return OwnedTensor({static_cast<std::int64_t>(count)}, DType::f32, context.device(),
                       "a check of what ranks exchange");
  }

  template <typename Value>
  using Word = std::invoke_result_t<Value, std::size_t>;

  /// Calls work(first, count, host words, their bytes, where they lie) for chunks of [begin, end).
  template <typename T, typename Work>
  void for_chunks(std::size_t begin, std::size_t end, const Work& work) {
    const std::size_t most = host_.size() / sizeof(T);
    for (std::size_t at = begin; at < end; at += most) {
      const std::size_t count = std::min(most, end - at);
      work(at, count, reinterpret_cast<T*>(host_.data()), count * sizeof(T), values_->data + at * sizeof(T));
    }
  }

  template <typename Value>
  void put(std::size_t begin, std::size_t end, const Value& value) {
    for_chunks<Word<Value>>(
        begin, end, [&](std::size_t at, std::size_t count, auto* host, std::size_t bytes, std::byte* place) {
          for (std::size_t i = 0; i < count; ++i) host[i] = value(at + i);
          copy_bytes(place, values_->device, host_.data(), Device::cpu, bytes);
        });
  }

  template <typename Value>
  void compare(const char* what, std::size_t all, std::size_t begin, std::size_t end, const Value& value) {
    for_chunks<Word<Value>>(
        begin, end,
        [&](std::size_t at, std::size_t count, auto* host, std::size_t bytes, const std::byte* place) {
          if (fault_) return;
          copy_bytes(host_.data(), Device::cpu, place, values_->device, bytes);
          for (std::size_t i = 0; i < count; ++i) {
            const auto expected = value(at + i);
            if (host[i] == expected) continue;
            fault_ = fmt::format(
                "{} of {} values over {} ranks is wrong on rank {} of them: value {} is {}, not {}", what,
                all, size_, rank_, at + i, number_of(host[i]), number_of(expected));
            return;
          }
        });
  }

  Collectives& collectives_;
  int rank_, size_;
  OwnedTensor values_, received_;
  std::vector<std::byte> host_;
  std::uint64_t number_ = 0;
  std::optional<std::string> fault_;
};

/// Lengths that are tried: those of all powers of 2, and others.
std::vector<std::size_t> lengths_up_to(std::size_t largest) {
  std::vector<std::size_t> counts;
  for (std::size_t count = 1; count < largest; count *= 2) counts.push_back(count);
  counts.push_back(largest);
  counts.push_back(std::min((3 * largest / 4) | 1, largest));
  return counts;
}

// Damage that comes and goes was seen in messages of this size and less.
constexpr std::size_t often_up_to = std::size_t{1} << 21;

int times_to_try(const ops::Context& context, std::size_t count) {
  return context.device() == Device::cpu || count > often_up_to ? 1 : 4;
}

/// Collective. FailureError where any rank has seen a fault.
void agree_on_fault(const Communicator& ranks, const Checker& checker) {
  agree(ranks, [&] {
    if (!checker.fault()) return;
    throw FailureError(*checker.fault(), "a check of the network between ranks",
                       "another protocol of NCCL (NCCL_PROTO=^LL128 or Simple) or version of it, or "
                       "--collectives mpi may be right; --no-collectives-check computes with it as it is");
  });
}

void log_checked(const Communicator& ranks, std::size_t largest, const Stopwatch& watch) {
  log_info("what {} ranks exchange arrives as it is, up to {} values at a time: checked in {:.2f} s",
           ranks.size(), largest, watch.seconds());
}

}  // namespace

void check_exchange(Collectives& collectives, const ops::Context& context, std::size_t largest,
                    DType activations) {
  const Communicator& ranks = collectives.ranks();
  if (ranks.size() == 1 || largest == 0) return;
  const Stopwatch watch;
  Checker checker = agree_on(ranks, [&] { return Checker(collectives, context, largest); });
  run_or_abort([&] {
    for (const std::size_t count : lengths_up_to(largest)) {
      for (int i = 0; i < times_to_try(context, count); ++i) {
        checker.sums(count);
        if (activations == DType::bf16) checker.bf16_sums(count);
      }
      checker.parts(count);
    }
    agree_on_fault(ranks, checker);
  });
  log_checked(ranks, largest, watch);
}

void check_messages(Collectives& collectives, const ops::Context& context, std::size_t largest) {
  const Communicator& ranks = collectives.ranks();
  if (ranks.size() == 1 || largest == 0) return;
  const Stopwatch watch;
  Checker checker = agree_on(ranks, [&] { return Checker(collectives, context, largest, true); });
  run_or_abort([&] {
    for (const std::size_t count : lengths_up_to(largest)) {
      for (int i = 0; i < times_to_try(context, count); ++i) checker.messages(count);
    }
    agree_on_fault(ranks, checker);
  });
  log_checked(ranks, largest, watch);
}

}  // namespace galapagos
