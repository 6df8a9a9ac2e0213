#include "build_info.hpp"  // written by the build

#include <galapagos/core/version.hpp>

namespace galapagos {

std::string version() {
  return GALAPAGOS_VERSION;
}
std::string git_revision() {
  return GALAPAGOS_GIT_REVISION;
}
std::string version_with_revision() {
  return version() + " (" + git_revision() + ")";
}
std::string compiler() {
  return GALAPAGOS_COMPILER;
}

}  // namespace galapagos
