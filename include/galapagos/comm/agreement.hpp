#pragma once

#include <functional>
#include <optional>
#include <utility>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/error.hpp>

namespace galapagos {

/// Thrown on ranks that are well when another rank has failed: ends the rank with the same exit code, prints
/// nothing.
class FailedElsewhere : public Error {
 public:
  FailedElsewhere(ExitCode code, int rank);
};

/// Collective. Runs `work` on every rank; `work` must not communicate. Where it throws on any rank, every
/// rank throws: the lowest failing rank its own error (which main prints once), the others FailedElsewhere
/// with its exit code.
void agree(const Communicator& comm, const std::function<void()>& work);

/// agree() for work with a result.
template <typename Work>
auto agree_on(const Communicator& comm, Work&& work) {
  std::optional<decltype(work())> result;
  agree(comm, [&] { result.emplace(work()); });
  return std::move(*result);
}

/// Collective. Work only on the root; its error becomes everybody's as in agree().
void agree_at_root(const Communicator& comm, const std::function<void()>& work);

}  // namespace galapagos
