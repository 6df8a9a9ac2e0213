#include "race_announcements.hpp"

#include <algorithm>

namespace galapagos {
namespace {

// So many make a message that MPI sends at once, without waiting for who receives it.
constexpr std::size_t trials_of_message = 6;

}  // namespace

RaceAnnouncements::RaceAnnouncements(const Communicator& all, const Communicator& group)
    : Announcements(all) {
  const std::vector<int> ranks = group.all_gather(all.rank());
  for (int rank = 0; rank < all.size(); ++rank) {
    const bool near = std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
    if (rank != all.rank() && (near || rank == 0)) at_once_.push_back(rank);
    if (!near && rank != 0) later_.push_back(rank);
    if (!near && rank == 0) root_elsewhere_.push_back(rank);
  }
}

void RaceAnnouncements::tell(const RaceMessage& trials) {
  Announcements::tell(to_bytes(trials), at_once_);
}

void RaceAnnouncements::tell(const MeasuredHeat& measured, const Standing& standing) {
  Announcements::tell(to_bytes({{}, standing}), root_elsewhere_);  // it has had the trials
  RaceMessage message;
  const Heat& heat = measured.heat;
  for (std::size_t i = 0; i < heat.trials.size(); ++i) {
    message.trials.push_back({heat.island, heat.generation, static_cast<std::int64_t>(i), heat.block,
                              heat.trials[i], measured.sums[i]});
    if (message.trials.size() < trials_of_message) continue;
    Announcements::tell(to_bytes(message), later_);
    message.trials.clear();
  }
  message.standing = standing;
  Announcements::tell(to_bytes(message), later_);
}

void RaceAnnouncements::tell(const Watched& watched) {
  Announcements::tell(to_bytes({{}, {}, watched}), root_elsewhere_);
}

void share_others(const Communicator& all, const Communicator& group,
                  const std::vector<std::vector<Assignment>>& mine, std::vector<Standing>& last) {
  std::vector<std::int16_t> told;  // their number and levels, island by island
  for (const std::vector<Assignment>& others : mine) {
    if (!group.is_root()) break;
    told.push_back(static_cast<std::int16_t>(others.size()));
    for (const Assignment& one : others) told.insert(told.end(), one.begin(), one.end());
  }
  told = all.gather(std::span<const std::int16_t>(told));
  all.broadcast(told);
  auto at = told.begin();  // ranks have islands in order
  for (Standing& standing : last) {
    const auto modules = std::ssize(standing.incumbent);
    for (std::int16_t left = *at++; left > 0; --left, at += modules)
      standing.others.emplace_back(at, at + modules);
  }
}

}  // namespace galapagos
