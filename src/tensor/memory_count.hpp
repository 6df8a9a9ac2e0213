#pragma once

#include <cstddef>

// Where buffers tell a MemoryCount of themselves; both do nothing where none lives on this thread.
namespace galapagos::memory_count {

void add(std::size_t bytes);
void remove(std::size_t bytes);

}  // namespace galapagos::memory_count
