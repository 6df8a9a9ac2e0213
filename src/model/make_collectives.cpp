#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/nccl_collectives.hpp>
#include <galapagos/comm/staged_collectives.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/model/make_collectives.hpp>

namespace galapagos {

void check_collectives(const ops::Context& context, CollectivesKind kind) {
  if (kind != CollectivesKind::nccl) return;
  if (context.device() == Device::cpu) {
    throw ResourceError("NCCL is for GPUs, and the backend is cpu", "--collectives nccl",
                        "use --backend cuda, or --collectives auto");
  }
  if (!built_with_nccl()) {
    throw ResourceError(
        "this build has no NCCL", "--collectives nccl",
        "build the preset 'cuda' where CMake finds NCCL (NCCL_ROOT), or use --collectives mpi");
  }
}

std::unique_ptr<Collectives> make_collectives(const Communicator& ranks, const ops::Context& context,
                                              CollectivesKind kind) {
  agree(ranks, [&] { check_collectives(context, kind); });
  if (context.device() == Device::cpu) return make_mpi_collectives(ranks);
  if (kind != CollectivesKind::mpi && built_with_nccl())
    return make_nccl_collectives(ranks, context.stream());
  if (kind == CollectivesKind::automatic) log_info("this build has no NCCL: ranks exchange sums over MPI");
  return make_gpu_mpi_collectives(ranks, context.stream());
}

}  // namespace galapagos
