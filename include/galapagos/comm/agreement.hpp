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
/// with its exit code. A rank that throws FailedElsewhere itself leaves the word to those with an own error.
void agree(const Communicator& comm, const std::function<void()>& work);

/// agree() for work with a result.
template <typename Work>
auto agree_on(const Communicator& comm, Work&& work) {
  std::optional<decltype(work())> result;
  agree(comm, [&] { result.emplace(work()); });
  return std::move(*result);
}

/// Runs work in which ranks wait for each other, as in the sums of shards: where it throws on one of them the
/// others cannot be told, so that its error is printed and every rank of the program ended. What they have
/// agreed on in it is thrown.
void run_or_abort(const std::function<void()>& work);

/// Collective. Work only on the root; its error becomes everybody's as in agree().
void agree_at_root(const Communicator& comm, const std::function<void()>& work);

}  // namespace galapagos
