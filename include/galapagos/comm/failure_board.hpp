#pragma once

#include <exception>
#include <vector>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// Lets ranks that work without collectives for a long time learn early that another one has failed. A
/// failing rank posts; the others look now and then and stop working; all then meet in settle(). Every rank
/// must reach settle().
class FailureBoard {
 public:
  /// Collective.
  explicit FailureBoard(const Communicator& comm);

  /// Runs `work` unless a rank has failed; keeps its exception for settle() and tells the other ranks.
  template <typename Work>
  void attempt(Work&& work) {
    if (failed()) return;
    try {
      work();
    } catch (...) {
      post(std::current_exception());
    }
  }

  /// Whether this or (as far as is known here) another rank has failed. Does not block.
  bool failed();

  /// Collective. Throws as agree() does where any rank has failed.
  void settle();

 private:
  void post(std::exception_ptr failure);

  Communicator comm_;
  std::exception_ptr failure_;
  bool failed_elsewhere_ = false;
  std::vector<Request> notices_;
  char notice_ = 1;
};

}  // namespace galapagos
