#include <galapagos/core/error.hpp>
#include <galapagos/core/random.hpp>

namespace galapagos {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t multiplier[2] = {0xD2511F53, 0xCD9E8D57};
  constexpr std::uint32_t weyl[2] = {0x9E3779B9, 0xBB67AE85};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = multiplier[0] * counter[0], second = multiplier[1] * counter[2];
    counter = {
        static_cast<std::uint32_t>(second >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(second),
        static_cast<std::uint32_t>(first >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(first)};
    key[0] += weyl[0];
    key[1] += weyl[1];
  }
  return counter;
}

RandomStream::RandomStream(std::uint64_t seed, const Name& name)
    : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
      counter_{0, (name.individual << 8) | name.kind, name.generation, name.island} {
  if (name.individual >= (1u << 24)) {
    throw FailureError("more individuals than a random stream can tell apart", "RandomStream",
                       "report this as a defect");
  }
}

std::uint32_t RandomStream::next() {
  if (used_ == block_.size()) {
    block_ = philox(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

void RandomStream::skip(std::uint64_t draws) {
  for (; draws > 0 && used_ < block_.size(); --draws) ++used_;
  counter_[0] += static_cast<std::uint32_t>(draws / block_.size());
  for (draws %= block_.size(); draws > 0; --draws) next();
}

// Lemire, "Fast random integer generation in an interval" (2019): the low half of the product says which
// draws would favour some results.
std::uint32_t RandomStream::below(std::uint32_t count) {
  std::uint64_t product = std::uint64_t{next()} * count;
  const std::uint32_t threshold = (0u - count) % count;
  while (static_cast<std::uint32_t>(product) < threshold) product = std::uint64_t{next()} * count;
  return static_cast<std::uint32_t>(product >> 32);
}

}  // namespace galapagos
