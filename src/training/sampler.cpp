#include <galapagos/core/error.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/training/sampler.hpp>

namespace galapagos {
namespace {

constexpr std::uint8_t order_draw = 16;  // apart from what a search draws

}  // namespace

Sampler::Sampler(const TokenSet& data, std::uint64_t seed) : data_(data), seed_(seed) {
  for (std::size_t s = 0; s < data.sequences(); ++s) {
    if (data.predicted(s) == 0) continue;
    usable_.push_back(static_cast<std::uint32_t>(s));
    tokens_ += static_cast<std::int64_t>(data.sequence(s).size());
  }
  if (usable_.empty()) {
    throw InputError(
        data.in_loss.empty() ? "no sequence of two tokens or more" : "no sequence with a token of a response",
        "--data", "give longer texts or a greater --sequence-length");
  }
  shuffle(0);
}

void Sampler::shuffle(std::uint64_t round) {
  order_ = usable_;
  RandomStream random(seed_, {0, static_cast<std::uint32_t>(round), 0, order_draw});
  random.shuffle(order_, order_.size());
  round_ = round;
}

std::vector<std::uint32_t> Sampler::take(DataPosition& position, std::int64_t tokens) {
  std::vector<std::uint32_t> taken;
  for (std::int64_t got = 0; got < tokens;) {
    const std::uint64_t round = position.sequences / usable_.size();
    if (round != round_) shuffle(round);
    taken.push_back(order_[position.sequences++ % usable_.size()]);
    const auto length = static_cast<std::int64_t>(data_.sequence(taken.back()).size());
    got += length;
    position.tokens += length;
  }
  return taken;
}

std::int64_t Sampler::count_updates(std::int64_t tokens, std::int64_t budget) {
  DataPosition position;
  std::int64_t updates = 0;
  for (; position.tokens < budget; ++updates) take(position, std::min(tokens, budget - position.tokens));
  return updates;
}

}  // namespace galapagos
