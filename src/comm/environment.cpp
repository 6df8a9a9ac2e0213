#include "mpi_check.hpp"

#include <cstdlib>
#include <exception>
#include <fmt/format.h>
#include <mpi.h>
#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/error.hpp>

namespace galapagos {

MpiEnvironment::MpiEnvironment(int& argc, char**& argv) {
  int provided = 0;
  GALAPAGOS_MPI(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided));
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
}

MpiEnvironment::~MpiEnvironment() {
  // An exception on its way out was agreed on by all ranks (main aborts on any other), so finalising is safe.
  MPI_Finalize();
}

void check_launcher(int world_size) {
  if (world_size != 1) return;
  const auto set = [](const char* variable) { return std::getenv(variable) != nullptr; };
  const auto compare = [](const char* variable, const char* remedy) {
    const char* announced = std::getenv(variable);
    if (announced == nullptr || std::strtol(announced, nullptr, 10) <= 1) return;
    throw ResourceError(
        fmt::format("the launcher started {} ranks, but each is alone in a world of one", announced),
        fmt::format("{}={}", variable, announced), remedy);
  };
  if (set("OMPI_COMM_WORLD_SIZE")) {  // mpirun has the last word, also inside a Slurm job
    compare("OMPI_COMM_WORLD_SIZE", "use the mpirun of the MPI library that this program was built with");
    return;
  }
  compare("PMI_SIZE", "use the launcher of the MPI library that this program was built with");
  // A batch script's own shell also has SLURM_NTASKS, but no step: a single process started there is meant.
  if (set("SLURM_JOB_ID") && !set("SLURM_STEP_ID")) return;
  compare(set("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS",
          "start with 'srun --mpi=pmix' ('srun --mpi=list' shows what there is) or with mpirun");
}

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string line(text, static_cast<std::size_t>(length));
  return line.substr(0, line.find_first_of(",\n"));
}

bool mpi_reads_gpu_memory() {
#if defined(MPIX_CUDA_AWARE_SUPPORT)  // Open MPI and its kin: what it was built with is not what it finds at
                                      // run time
  return MPIX_Query_cuda_support() == 1;
#elif defined(MPIX_GPU_SUPPORT_CUDA)  // MPICH and its kin
  int supported = 0;
  return MPIX_GPU_query_support(MPIX_GPU_SUPPORT_CUDA, &supported) == MPI_SUCCESS && supported != 0;
#else
  return false;
#endif
}

void abort_all_ranks(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace galapagos
