#pragma once

namespace galapagos::app {

/// What is known of a node's ranks and threads before MPI is started.
struct ThreadLoad {
  int ranks = 1;       ///< of this node
  int threads = 1;     ///< of each
  int processors = 1;  ///< that this rank may run on
  int of_job = 1;      ///< that its launcher may run on

  /// Whether threads have to share processors.
  bool crowded() const { return threads > processors || ranks * threads > of_job; }
};

/// The first number of a text as "2,1", "8(x4)" or "16"; 0 where there is none or no text.
int leading_number(const char* text);

/// Before anything else: where threads of OpenMP have to share processors, lets them sleep while they wait,
/// as OMP_WAIT_POLICY=passive does, unless the environment says how they wait. As OpenMP looks only when it
/// is loaded, the program begins anew.
void choose_wait_policy(char** argv);

}  // namespace galapagos::app
