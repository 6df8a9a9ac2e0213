#include "memory_count.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {
namespace {

struct State {
  bool counting = false;
  std::uint64_t bytes = 0;
};

thread_local State state;

}  // namespace

MemoryCount::MemoryCount() {
  if (state.counting) throw FailureError("a count of memory within another", "MemoryCount", "report this");
  state = {true, 0};
}

MemoryCount::~MemoryCount() {
  state.counting = false;
}

std::uint64_t MemoryCount::bytes() const {
  return state.bytes;
}

bool MemoryCount::counting() {
  return state.counting;
}

namespace memory_count {

void add(std::size_t bytes) {
  if (state.counting) state.bytes += bytes;
}

void remove(std::size_t bytes) {
  if (state.counting) state.bytes -= bytes;
}

}  // namespace memory_count
}  // namespace galapagos
