#include <galapagos/comm/nccl_collectives.hpp>
#include <galapagos/core/error.hpp>

// Builds without NCCL.
namespace galapagos {

bool nccl_can_connect(const Communicator&) {
  return false;
}

std::unique_ptr<Collectives> make_nccl_collectives(const Communicator&, void*, const NcclDeadlines&) {
  throw ResourceError(
      "this build has no NCCL", "--collectives nccl",
      "build with the preset 'cuda' where CMake finds NCCL (NCCL_ROOT), or use --collectives mpi");
}

void check_nccl_while_waiting(std::chrono::duration<double>) {}
bool nccl_in_use() {
  return false;
}

bool built_with_nccl() {
  return false;
}
std::string nccl_version() {
  return "none";
}

}  // namespace galapagos
