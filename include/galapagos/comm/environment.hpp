#pragma once

#include <string>

namespace galapagos {

/// MPI from MPI_Init_thread (FUNNELED) to MPI_Finalize.
class MpiEnvironment {
 public:
  MpiEnvironment(int& argc, char**& argv);
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;
};

/// Throws ResourceError, with the remedy, where the launcher started many worlds of one rank instead of one
/// world: where OMPI_COMM_WORLD_SIZE, PMI_SIZE or Slurm's number of tasks says more than `world_size` = 1.
void check_launcher(int world_size);

/// Name and version of the MPI library, one line.
std::string mpi_library_version();

/// Whether the MPI library says, at run time, that it takes addresses of GPU memory (CUDA-aware).
bool mpi_reads_gpu_memory();

/// Ends every rank of the program at once. For failures that the others cannot be told of in any other way.
[[noreturn]] void abort_all_ranks(int exit_code);

}  // namespace galapagos
