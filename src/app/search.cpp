#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/search/search.hpp>

namespace galapagos::app {

void search(const Communicator& world, const std::vector<std::string>& words) {
  Asked<SearchOptions> asked;
  if (!begin(world, asked, words)) return;
  SearchOptions& request = asked.request;
  agree(world, [&] { resolve(request); });
  request.config_ini = asked.options.resolved();
  const ops::Context context = make_context(world, request);
  request.make_collectives = collectives_for(context, request);
  run_search(world, context, request);
}

}  // namespace galapagos::app
