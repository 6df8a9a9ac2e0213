#pragma once

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/run_lock.hpp>

namespace galapagos {

/// The lock of a run of all ranks, which one of them holds: where another process takes the run over, all
/// end.
struct OutputLock : RunLock {
  explicit OutputLock(const std::filesystem::path& output, bool makes_parents = false)
      : RunLock(output, makes_parents, {}, [] { abort_all_ranks(static_cast<int>(ExitCode::failure)); }) {}
};

}  // namespace galapagos
