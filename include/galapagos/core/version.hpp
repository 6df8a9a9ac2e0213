#pragma once

#include <string>

namespace galapagos {

/// "0.1.0".
std::string version();
/// The git revision of the sources, with "-dirty" where they were changed; "unknown" outside a repository.
std::string git_revision();
/// "0.1.0 (1a2b3c4)".
std::string version_with_revision();
/// Name and version of the compiler, build type and architecture.
std::string compiler();

}  // namespace galapagos
