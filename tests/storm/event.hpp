#pragma once

#include "draw.hpp"
#include "lost_writes.hpp"

#include <string>

namespace galapagos::storm {

enum class Fault {
  rank,     ///< one rank is killed
  machine,  ///< all ranks are killed, and what was not synced may be lost
  stop,     ///< a signal asks for an orderly end
  stall,    ///< one rank stands still for a while
};

/// What befalls a command, and when.
struct Event {
  Fault fault = Fault::rank;
  std::size_t rank = 0;        ///< which, of all or, at a sync, of all but the one there
  long sync = 0;               ///< at this sync of all ranks, negative: behind it; 0: at a time
  double share = 0;            ///< of a whole run's time
  bool at_sync_itself = true;  ///< whether it is the rank at the sync that is killed
  int signal = 0;              ///< of a stop
  bool to_launcher = false;    ///< a stop's signal goes to mpirun, which passes it on
  double pause = 0;            ///< seconds of a stall
  Loss loss;
};

/// Of a command that takes `syncs` syncs; one that does not `stop` in order is only killed.
Event draw_event(Draw& draw, int ranks, long syncs, bool stops);

std::string name_of(Fault fault);
/// When, in a few words.
std::string moment_of(const Event& event);

}  // namespace galapagos::storm
