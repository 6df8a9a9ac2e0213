#pragma once

#include <string>

namespace galapagos {

/// What makes a record unusable. Whoever knows where it lies makes a BadRecord of it.
struct RecordFault {
  std::string what, remedy;
};

}  // namespace galapagos
