#pragma once

#include "race_messages.hpp"

#include <galapagos/comm/announcements.hpp>

namespace galapagos {

/// Who of a race's ranks is told what: trials at once those that share the island, and the root, which writes
/// the archive; whole heats all others, once they are accepted.
class RaceAnnouncements : public Announcements {
 public:
  /// Collective over `all`; `group` has this rank's islands.
  RaceAnnouncements(const Communicator& all, const Communicator& group);

  void tell(const RaceMessage& trials);
  /// By the group's root.
  void tell(const MeasuredHeat& measured, const Standing& standing);
  void tell(const Watched& watched);

 private:
  std::vector<int> at_once_;
  std::vector<int> later_;
  std::vector<int> root_elsewhere_;  // the root, where it is of another group
};

/// Collective over `all`, when nothing else is told: the challengers left on this group's islands, `mine`,
/// among the standings of all islands, in order.
void share_others(const Communicator& all, const Communicator& group,
                  const std::vector<std::vector<Assignment>>& mine, std::vector<Standing>& last);

}  // namespace galapagos
