#include "event.hpp"

#include <csignal>
#include <fmt/format.h>

namespace galapagos::storm {

Event draw_event(Draw& draw, int ranks, long syncs, bool stops) {
  Event event;
  const double which = draw.real();
  event.fault = which < 0.5             ? Fault::rank
                : which < 0.8 || !stops ? Fault::machine
                : which < 0.9           ? Fault::stop
                                        : Fault::stall;
  event.rank = draw.index(static_cast<std::size_t>(ranks));
  event.share = draw.between(0.15, 1);
  const bool kills = event.fault == Fault::rank || event.fault == Fault::machine;
  if (kills && syncs > 0 && draw.chance(0.6)) {
    event.sync = 1 + static_cast<long>(draw.below(static_cast<std::uint64_t>(syncs)));
    if (draw.chance(0.5)) event.sync = -event.sync;
  }
  event.at_sync_itself = draw.chance(0.7);
  event.signal = draw.chance(0.5) ? SIGUSR2 : SIGTERM;
  event.to_launcher = event.signal == SIGUSR2 && draw.chance(0.5);
  event.pause = draw.between(0.1, 1.5);
  event.loss = draw_loss(draw);
  return event;
}

std::string name_of(Fault fault) {
  constexpr const char* names[] = {"rank", "machine", "stop", "stall"};
  return names[static_cast<int>(fault)];
}

std::string moment_of(const Event& event) {
  if (event.sync != 0)
    return fmt::format("{} sync {}", event.sync > 0 ? "before" : "behind", std::abs(event.sync));
  return fmt::format("{:.2f} of the time", event.share);
}

}  // namespace galapagos::storm
