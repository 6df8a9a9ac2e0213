#pragma once

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// A word that any rank of a group can give its root once, without waiting; the root looks now and then.
/// Every rank must reach settle(), but for those that an exception ends.
class Notice {
 public:
  /// Collective.
  explicit Notice(const Communicator& comm) : comm_(comm.duplicate()) {}

  void give();
  /// On the root: whether anybody has given the word (as far as is known here). Does not block.
  bool given();
  /// Collective. Nobody gives or asks after it.
  void settle();

 private:
  Communicator comm_;
  Request sent_;
  char word_ = 1;
  bool given_ = false;  // by this rank; on the root, by any
};

}  // namespace galapagos
