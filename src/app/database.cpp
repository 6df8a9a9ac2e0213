#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/pruning/build.hpp>

namespace galapagos::app {

void database(const Communicator& world, const std::vector<std::string>& words) {
  Asked<DatabaseOptions> asked;
  if (!begin(world, asked, words)) return;
  const ops::Context context = make_context(world, asked.request);
  asked.request.make_collectives = hessian_collectives_for(context, asked.request);
  build_database(world, context, asked.request);
}

}  // namespace galapagos::app
