#include <fmt/format.h>
#include <new>
#include <xxhash.h>

#include <galapagos/core/hash.hpp>

namespace galapagos {

struct Hash64::State {
  XXH64_state_t* state = XXH64_createState();
  State() {
    if (state == nullptr) throw std::bad_alloc();
    XXH64_reset(state, 0);
  }
  ~State() { XXH64_freeState(state); }
};

Hash64::Hash64() : state_(std::make_unique<State>()) {}
Hash64::~Hash64() = default;

Hash64& Hash64::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH64_update(state_->state, bytes.data(), bytes.size());
  return *this;
}

std::uint64_t Hash64::value() const {
  return XXH64_digest(state_->state);
}

std::string hex64(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

}  // namespace galapagos
