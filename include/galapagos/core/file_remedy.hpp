#pragma once

#include <string>

namespace galapagos {

/// What the user can do about a call on a file that failed with this errno.
std::string remedy_for(int error);

/// Whether it says that the file system, or the node, has no more of something, or is at fault: no input is.
bool is_shortage(int error);

}  // namespace galapagos
