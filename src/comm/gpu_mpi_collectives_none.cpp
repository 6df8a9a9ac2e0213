#include <galapagos/comm/staged_collectives.hpp>
#include <galapagos/core/error.hpp>

// Builds without CUDA.
namespace galapagos {

std::unique_ptr<Collectives> make_gpu_mpi_collectives(const Communicator&, void*) {
  throw ResourceError("this build has no CUDA", "--backend cuda",
                      "build with the preset 'cuda' or use --backend cpu");
}

}  // namespace galapagos
