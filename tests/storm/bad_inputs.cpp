#include "bad_inputs.hpp"

namespace galapagos::storm {

std::int64_t try_bad_inputs(const Options&, const Ledger&) {
  return 0;
}

}  // namespace galapagos::storm
