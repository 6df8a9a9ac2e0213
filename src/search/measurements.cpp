#include <galapagos/search/measurements.hpp>

namespace galapagos {

std::string name_of(Origin origin) {
  switch (origin) {
    case Origin::random:
      return "random";
    case Origin::proposal:
      return "proposal";
    case Origin::parent:
      return "parent";
    case Origin::immigrant:
      return "immigrant";
    default:
      return "mutation";
  }
}

}  // namespace galapagos
