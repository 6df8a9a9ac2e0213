#pragma once

#include <string>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/energy_counters.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/meter.hpp>

namespace galapagos {

/// What a run took of a machine.
struct Bill {
  double seconds = 0;
  int nodes = 1, ranks = 1;
  int gpus = 0;   ///< different ones
  Energy joules;  ///< of whole nodes and GPUs, whoever else used them; only what the machine tells

  double node_hours() const { return nodes * seconds / 3600; }
  double gpu_hours() const { return gpus * seconds / 3600; }
  Json json() const;
  /// "0.0123 node-hours: 00:00:44 on 1 node, 4 ranks; energy: 3.1 kJ of processors"
  std::string text() const;
};

/// Collective: of all ranks together, on every rank. `mine` is each one's own part.
Bill bill_of(const Communicator& comm, const Meter::Reading& mine);

/// "740 J", "3.1 kJ", "2.4 MJ (0.67 kWh)".
std::string human_energy(double joules);

}  // namespace galapagos
