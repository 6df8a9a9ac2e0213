#include "wait_policy.hpp"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <galapagos/core/system.hpp>

namespace galapagos::app {
namespace {

/// The ranks of this node by what launchers tell them: Open MPI, MPICH and Intel MPI, Cray PALS, Slurm.
int ranks_of_node() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE",
                           "PALS_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"}) {
    if (const int ranks = leading_number(std::getenv(name)); ranks > 0) return ranks;
  }
  return 1;
}

/// Processors of the launcher, which is not bound to some of the job's as its ranks may be.
int processors_of_parent(int otherwise) {
  cpu_set_t set;
  return sched_getaffinity(getppid(), sizeof set, &set) == 0 ? std::max(CPU_COUNT(&set), otherwise)
                                                             : otherwise;
}

/// What --threads or OMP_NUM_THREADS ask for; 1 where nobody asks, as a rank's share of the node is never too
/// much.
int threads_asked_for(char** argv) {
  for (char** word = argv; *word != nullptr; ++word) {
    if (std::strncmp(*word, "--threads=", 10) == 0) return leading_number(*word + 10);
    if (std::strcmp(*word, "--threads") == 0) return leading_number(word[1]);
  }
  return std::max(leading_number(std::getenv("OMP_NUM_THREADS")), 1);
}

}  // namespace

int leading_number(const char* text) {
  if (text == nullptr) return 0;
  const long number = std::strtol(text, nullptr, 10);
  return static_cast<int>(std::clamp(number, 0L, static_cast<long>(SHRT_MAX)));
}

void choose_wait_policy(char** argv) {
  for (const char* said : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"})
    if (std::getenv(said) != nullptr) return;
  const int processors = usable_processors();
  const ThreadLoad load{ranks_of_node(), threads_asked_for(argv), processors,
                        processors_of_parent(processors)};
  if (load.threads < 2 || !load.crowded()) return;
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return;
  path[length] = '\0';
  // A loader or a tool that runs this program in its own process is no program of ours.
  const auto* begun = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  struct stat mine {
  }, own{};
  if (begun == nullptr || stat(begun, &mine) != 0 || stat(path, &own) != 0 || mine.st_ino != own.st_ino ||
      mine.st_dev != own.st_dev)
    return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv(path, argv);  // what cannot be begun anew goes on as it is
}

}  // namespace galapagos::app
